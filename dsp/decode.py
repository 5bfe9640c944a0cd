"""From a file to samples: the container is found by content; what can be salvaged is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import soundfile

from dsp.audio import AudioBuffer, Encoding, Limits, Samples, Source
from dsp.errors import EmptyFile, NoAudio, TooLong, Undecodable, UnsupportedChannels, UnsupportedSampleRate
from dsp.report import InputInfo, ReportWarning
from dsp.wav_header import missing_bytes

_BLOCK_FRAMES = 1 << 18

# libsndfile's names of what telephony writes, in the words of FFmpeg that the field uses.
_CONTAINERS = {
    "WAV": "wav",
    "WAVEX": "wav",
    "RF64": "rf64",
    "FLAC": "flac",
    "OGG": "ogg",
    "MPEG": "mp3",
    "MP3": "mp3",
}
_CODECS = {
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
    "IMA_ADPCM": "adpcm_ima",
    "VORBIS": "vorbis",
    "OPUS": "opus",
    "MPEG_LAYER_III": "mp3",
}
_RAW_SUBTYPES = {"slin": "PCM_16", "ulaw": "ULAW", "alaw": "ALAW", "gsm": "GSM610"}


@dataclass(frozen=True)
class Decoded:
    """A recording's samples with what is worth saying about its file."""

    audio: AudioBuffer
    info: InputInfo
    warnings: tuple[ReportWarning, ...]


def probe_duration_s(source: Source, *, limits: Limits) -> float:
    """Give the recording's length as its header has it, in seconds; checked against the limits.

    Raises:
        RecordingError: empty, undecodable, unsupported or too long.
    """
    with _opened(source) as file:
        _check(file, limits)
        return float(file.frames / file.samplerate)


def decode(source: Source, *, limits: Limits) -> Decoded:
    """Read a recording whole.

    Raises:
        RecordingError: empty, undecodable, unsupported or too long.
    """
    with _opened(source) as file:
        _check(file, limits)
        samples, broke = _read(file, limits)
        sample_rate_hz, promised = int(file.samplerate), int(file.frames)
        container = _CONTAINERS.get(file.format, file.format.lower())
        codec = _CODECS.get(file.subtype, file.subtype.lower())
    if samples.shape[0] == 0:
        raise NoAudio("The recording has a header but no samples: nothing was recorded, or it was cut off.")
    warnings = list(_missing(source, samples, promised, broke))
    bad = ~np.isfinite(samples)
    if bad.any():
        samples[bad] = 0.0
        warnings.append(
            ReportWarning(
                code="not_finite", message=f"{int(bad.sum())} samples were not numbers and were set to zero."
            )
        )
    audio = AudioBuffer(samples, sample_rate_hz)
    with source.path.open("rb") as raw:
        sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
        size_bytes = raw.tell()
    info = InputInfo(
        path=str(source.path),
        sha256=sha256,
        bytes=size_bytes,
        container="raw" if source.encoding else container,
        codec=codec,
        sample_rate_hz=sample_rate_hz,
        channels=audio.channels,
        frames=audio.frames,
        duration_s=audio.duration_s,
    )
    return Decoded(audio, info, tuple(warnings))


@contextmanager
def _opened(source: Source) -> Iterator[soundfile.SoundFile]:
    if source.path.stat().st_size == 0:
        raise EmptyFile("The recording is empty: the file has no bytes.")
    # An open file, not a path: libsndfile would else believe a suffix such as .raw.
    with source.path.open("rb") as raw:
        try:
            file = _sound_file(raw, source.encoding)
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            raise Undecodable(
                "The file is not audio that Clearcall can read (WAV, FLAC, MP3, Ogg, or headerless with "
                f"recording.encoding in the event): {_reason(error)}."
            ) from error
        with file:
            yield file


def _sound_file(raw: IO[bytes], encoding: Encoding | None) -> soundfile.SoundFile:
    if encoding is None:
        return soundfile.SoundFile(raw)
    return soundfile.SoundFile(
        raw,
        format="RAW",
        subtype=_RAW_SUBTYPES[encoding.format],
        samplerate=encoding.sample_rate_hz,
        channels=encoding.channels,
        endian="LITTLE",
    )


def _check(file: soundfile.SoundFile, limits: Limits) -> None:
    """Refuse by the header alone, before memory is taken."""
    low_hz, high_hz = limits.min_sample_rate_hz, limits.max_sample_rate_hz
    if not low_hz <= file.samplerate <= high_hz:
        raise UnsupportedSampleRate(
            f"The recording has {file.samplerate} Hz; {low_hz} to {high_hz} Hz are taken."
        )
    if not 1 <= file.channels <= limits.max_channels:
        raise UnsupportedChannels(
            f"The recording has {file.channels} channels; 1 to {limits.max_channels} are taken."
        )
    if file.frames > limits.max_duration_s * file.samplerate:
        raise TooLong(
            f"The recording lasts {file.frames / file.samplerate:.0f} s; at most {limits.max_duration_s:.0f} s are "
            "taken (CLEARCALL_MAX_DURATION_S)."
        )


def _read(file: soundfile.SoundFile, limits: Limits) -> tuple[Samples, str | None]:
    """Read block by block, so that what precedes a damaged place is kept; also tells why it broke off."""
    most_frames = min(int(limits.max_duration_s * file.samplerate), limits.max_samples // file.channels)
    blocks: list[Samples] = []
    frames = 0
    broke: str | None = None
    while True:
        try:
            block = file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            broke = _reason(error)
            break
        if block.shape[0] == 0:
            break
        frames += block.shape[0]
        if frames > most_frames:
            raise TooLong(
                f"The recording lasts longer than the {limits.max_duration_s:.0f} s that are taken."
            )
        blocks.append(block)
    if not blocks:
        return np.zeros((0, file.channels), dtype=np.float32), broke
    return np.concatenate(blocks), broke


def _missing(
    source: Source, samples: Samples, promised_frames: int, broke: str | None
) -> Iterator[ReportWarning]:
    frames = samples.shape[0]
    lost_bytes = missing_bytes(source.path) if source.encoding is None else 0
    if lost_bytes:
        yield ReportWarning(
            code="truncated",
            message=f"The file ends {lost_bytes} bytes before its header says; what is there was cleaned.",
        )
    elif broke is not None:
        yield ReportWarning(
            code="damaged",
            message=f"Only the first {frames} of {max(frames, promised_frames)} frames could be decoded ({broke}).",
        )
    # Compressed formats promise a length that may be off by a block.
    elif frames < promised_frames - 4096:
        yield ReportWarning(
            code="truncated",
            message=f"The file holds {frames} of the {promised_frames} frames that its header promises.",
        )


def _reason(error: Any) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return text or type(error).__name__
