"""Decoding by libsndfile: FLAC, Ogg Opus, and what WAV and its kin hold beside plain samples."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import soundfile

from dsp.audio import Samples
from dsp.decode_reader import BLOCK_FRAMES, StreamFacts
from dsp.errors import Undecodable, UnsupportedContainer

_FRAMES_UNKNOWN: Final = (
    1 << 36
)  # FLAC has 36 bits for them; libsndfile says 2^63 - 1 where there is no number

_CONTAINERS: Final = {
    "WAV": "wav",
    "WAVEX": "wav",
    "RF64": "rf64",
    "W64": "w64",
    "FLAC": "flac",
    "OGG": "ogg",
    "AIFF": "aiff",
    "AU": "au",
    "CAF": "caf",
    "RAW": "raw",
}
_BIG_ENDIAN: Final = ("AIFF", "AU", "CAF")
# libsndfile's names in the words of FFmpeg, which the field uses; PCM of more than a byte gets le or be.
_CODECS: Final = {
    "PCM_U8": "pcm_u8",
    "PCM_S8": "pcm_s8",
    "PCM_16": "pcm_s16",
    "PCM_24": "pcm_s24",
    "PCM_32": "pcm_s32",
    "FLOAT": "pcm_f32",
    "DOUBLE": "pcm_f64",
    "ULAW": "pcm_mulaw",
    "ALAW": "pcm_alaw",
    "GSM610": "gsm",
    "MS_ADPCM": "adpcm_ms",
    "IMA_ADPCM": "adpcm_ima_wav",
    "OPUS": "opus",
}
_EXACT: Final = ("PCM_U8", "PCM_S8", "PCM_16", "ULAW", "ALAW", "GSM610", "MS_ADPCM", "IMA_ADPCM")


class SndfileReader:
    """A recording that libsndfile decodes."""

    def __init__(self, file: soundfile.SoundFile) -> None:
        self.broke: str | None = None
        self.lost_frames = self.gap_frames = 0
        self._file = file
        container, codec = _names(file)
        frames = int(file.frames)
        self.facts = StreamFacts(
            container=container,
            codec=codec,
            sample_rate_hz=int(file.samplerate),
            channels=int(file.channels),
            promised_frames=frames if frames < _FRAMES_UNKNOWN - 1 else None,
            exact_bits=16 if file.subtype in _EXACT else None,
        )

    def blocks(self) -> Iterator[Samples]:
        """Give the samples once; what precedes a damaged place is kept."""
        channels = self.facts.channels
        block = np.empty((BLOCK_FRAMES, channels), dtype=np.float32)
        while self.broke is None:
            block.fill(np.nan)
            try:
                read = self._file.read(out=block)
            except soundfile.LibsndfileError as error:
                # What came before the damage was written into the block, and is not counted for us.
                untouched = np.isnan(block).all(axis=1)
                read = block[: int(untouched.argmax())]
                self.broke = _reason(error)
            if len(read) == 0:
                return
            yield np.array(read, order="F")


@contextmanager
def opened_by_sndfile(
    stream: io.BufferedReader, raw: dict[str, Any] | None = None
) -> Iterator[SndfileReader]:
    """Open what libsndfile decodes.

    Parameters
    ----------
    raw
        How to read a file without a header.

    Raises
    ------
    Undecodable
        Libsndfile cannot read it.
    UnsupportedContainer
        It can, and finds something that is not taken.
    """
    try:
        file = soundfile.SoundFile(stream, **(raw or {}))
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise Undecodable(
            f"The file is not audio that Clearcall can read: its header looks like one, but {_reason(error)}."
        ) from error
    with file:
        if file.format not in _CONTAINERS:
            raise UnsupportedContainer(f"The recording is a {file.format} file, which is not taken.")
        yield SndfileReader(file)


def _names(file: soundfile.SoundFile) -> tuple[str, str]:
    """Container and codec as the report has them."""
    container = _CONTAINERS[file.format]
    codec = "flac" if container == "flac" else _CODECS.get(file.subtype, file.subtype.lower())
    if codec.startswith("pcm_") and codec[-2:].isdigit():
        codec += "be" if file.format in _BIG_ENDIAN else "le"
    return container, codec


def _reason(error: Any) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return text or type(error).__name__
