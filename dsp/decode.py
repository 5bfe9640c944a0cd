"""From a file to samples: the container is found by content; what can be salvaged is."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import soundfile

from dsp.audio import AudioBuffer, Limits, Samples, Source
from dsp.containers import OggEnd, WavData, looks_like_container, ogg_end, wav_data, with_length
from dsp.errors import (
    EmptyFile,
    NoAudio,
    TooLong,
    Undecodable,
    UnsupportedChannels,
    UnsupportedContainer,
    UnsupportedSampleRate,
)
from dsp.report import InputInfo, ReportWarning

_BLOCK_FRAMES: Final = 1 << 16
_FRAMES_UNKNOWN: Final = (
    1 << 36
)  # FLAC has 36 bits for them; libsndfile says 2^63 - 1 where there is no number
_LOUDEST: Final = 16.0  # 24 dB over full scale: a float file may go over it, but not without end
_CODEC_BLOCK_FRAMES: Final = 4096  # compressed formats promise a length that may be off by a block

_CONTAINERS: Final = {
    "WAV": "wav",
    "WAVEX": "wav",
    "RF64": "rf64",
    "W64": "w64",
    "FLAC": "flac",
    "OGG": "ogg",
    "MP3": "mp3",
    "MPEG": "mp3",
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
    "VORBIS": "vorbis",
    "OPUS": "opus",
    "MPEG_LAYER_III": "mp3",
}
_RAW_SUBTYPES: Final = {"slin": "PCM_16", "ulaw": "ULAW", "alaw": "ALAW", "gsm": "GSM610"}


@dataclass(frozen=True)
class Decoded:
    """A recording's samples with what is worth saying about its file."""

    audio: AudioBuffer
    info: InputInfo
    warnings: tuple[ReportWarning, ...]


@dataclass(frozen=True)
class _Opened:
    """A file that libsndfile takes, and what it does not say of it."""

    file: soundfile.SoundFile
    wav: WavData | None
    ogg: OggEnd | None
    encoding_ignored: bool

    @property
    def promised_frames(self) -> int | None:
        """Frames that the header promises; None where it does not know."""
        frames = int(self.file.frames)
        return frames if frames < _FRAMES_UNKNOWN - 1 else None


def probe_duration_s(source: Source, *, limits: Limits) -> float:
    """Give the recording's length as its header has it, in seconds; checked against the limits.

    Where the header does not know, the longest that the limits allow is given.

    Raises
    ------
    RecordingError
        Empty, undecodable, unsupported or too long.
    """
    with _opened(source) as opened:
        _check(opened, limits)
        frames = opened.promised_frames
        return limits.max_duration_s if frames is None else float(frames / opened.file.samplerate)


def decode(source: Source, *, limits: Limits) -> Decoded:
    """Read a recording whole.

    Raises
    ------
    RecordingError
        Empty, undecodable, unsupported or too long.
    """
    with _opened(source) as opened:
        _check(opened, limits)
        samples, broke = _read(opened.file, limits)
        container, codec = _names(opened.file)
        warnings = [*_file_warnings(opened, samples.shape[0], broke), *_made_finite(samples)]
        sample_rate_hz = int(opened.file.samplerate)
    if samples.shape[0] == 0:
        raise NoAudio("The recording has a header but no samples: nothing was recorded, or it was cut off.")
    if source.channels and len(source.channels) != samples.shape[1]:
        message = f"The event names {len(source.channels)} channels; the file has {samples.shape[1]}."
        warnings.append(ReportWarning(code="channels_mismatch", message=message))
    audio = AudioBuffer(samples, sample_rate_hz)
    with source.path.open("rb") as raw:
        sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
        size_bytes = raw.tell()
    info = InputInfo(
        path=str(source.path),
        sha256=sha256,
        bytes=size_bytes,
        container=container,
        codec=codec,
        sample_rate_hz=sample_rate_hz,
        channels=audio.channels,
        frames=audio.frames,
        duration_s=audio.duration_s,
    )
    return Decoded(audio, info, tuple(warnings))


@contextmanager
def _opened(source: Source) -> Iterator[_Opened]:
    if source.path.stat().st_size == 0:
        raise EmptyFile("The recording is empty: the file has no bytes.")
    with source.path.open("rb", buffering=0) as raw:
        has_header = looks_like_container(raw)
        wav = wav_data(source.path) if has_header else None
        ogg = ogg_end(source.path) if has_header else None
        # A descriptor, which has no name: a suffix such as .raw would else be believed.
        stream: io.BytesIO | int = raw.fileno()
        if wav is not None and wav.is_left_open:
            stream = io.BytesIO(with_length(source.path, wav))
        options = {} if has_header else _raw_options(source)
        try:
            file = soundfile.SoundFile(stream, closefd=False, **options)
        except (soundfile.LibsndfileError, TypeError, ValueError) as error:
            raise Undecodable(
                "The file is not audio that Clearcall can read (WAV, FLAC, MP3, Ogg; or without a header, with "
                f"its encoding in the event): {_reason(error)}."
            ) from error
        with file:
            yield _Opened(file, wav, ogg, encoding_ignored=has_header and source.encoding is not None)


def _raw_options(source: Source) -> dict[str, Any]:
    encoding = source.encoding
    if encoding is None:
        return {}
    return {
        "format": "RAW",
        "subtype": _RAW_SUBTYPES[encoding.format],
        "samplerate": encoding.sample_rate_hz,
        "channels": encoding.channels,
        "endian": "LITTLE",
    }


def _check(opened: _Opened, limits: Limits) -> None:
    """Refuse by the header alone, before memory is taken."""
    file, frames = opened.file, opened.promised_frames or 0
    low_hz, high_hz = limits.min_sample_rate_hz, limits.max_sample_rate_hz
    if file.format not in _CONTAINERS:
        raise UnsupportedContainer(
            f"The recording is a {file.format} file; WAV, FLAC, MP3 and Ogg are taken."
        )
    if not low_hz <= file.samplerate <= high_hz:
        raise UnsupportedSampleRate(
            f"The recording has {file.samplerate} Hz; {low_hz} to {high_hz} Hz are taken."
        )
    if not 1 <= file.channels <= limits.max_channels:
        raise UnsupportedChannels(
            f"The recording has {file.channels} channels; 1 to {limits.max_channels} are taken."
        )
    if frames > _most_frames(file, limits):
        raise _too_long(file, limits, f"lasts {frames / file.samplerate:.0f} s")


def _most_frames(file: soundfile.SoundFile, limits: Limits) -> int:
    return min(int(limits.max_duration_s * file.samplerate), limits.max_samples // int(file.channels))


def _too_long(file: soundfile.SoundFile, limits: Limits, found: str) -> TooLong:
    most_s = _most_frames(file, limits) / file.samplerate
    return TooLong(
        f"The recording {found}; of {file.channels} channels at {file.samplerate} Hz, {most_s:.0f} s are taken. "
        "Raise the limit, or cut the recording."
    )


def _read(file: soundfile.SoundFile, limits: Limits) -> tuple[Samples, str | None]:
    """Read block by block, so that what precedes a damaged place is kept; also tells why it broke off."""
    most_frames = _most_frames(file, limits)
    blocks: list[Samples] = []
    frames = 0
    broke: str | None = None
    while broke is None:
        block = np.full((_BLOCK_FRAMES, file.channels), np.nan, dtype=np.float32)
        try:
            read = file.read(out=block)
        except soundfile.LibsndfileError as error:
            # What came before the damage was written into the block, and is not counted for us.
            untouched = np.isnan(block).all(axis=1)
            read = block[: int(untouched.argmax())]
            broke = _reason(error)
        if len(read) == 0:
            break
        frames += len(read)
        if frames > most_frames:
            raise _too_long(file, limits, f"lasts more than {most_frames / file.samplerate:.0f} s")
        blocks.append(read)
    if not blocks:
        return np.zeros((0, file.channels), dtype=np.float32), broke
    return np.concatenate(blocks), broke


def _names(file: soundfile.SoundFile) -> tuple[str, str]:
    """Container and codec as the report has them."""
    container = _CONTAINERS[file.format]
    codec = "flac" if container == "flac" else _CODECS.get(file.subtype, file.subtype.lower())
    if codec.startswith("pcm_") and codec[-2:].isdigit():
        codec += "be" if file.format in _BIG_ENDIAN else "le"
    return container, codec


def _file_warnings(opened: _Opened, frames: int, broke: str | None) -> Iterator[ReportWarning]:
    """Say what is wrong with the file though it could be read."""
    wav, rate_hz, promised = opened.wav, int(opened.file.samplerate), opened.promised_frames
    if opened.encoding_ignored:
        message = "The event gives an encoding as for a file without a header; the file has one, which was believed."
        yield ReportWarning(code="encoding_ignored", message=message)
    if wav is not None and wav.length_unknown:
        message = (
            f"The header does not say how long the recording is; all {frames} frames behind it were read."
        )
        yield ReportWarning(code="length_unknown", message=message)
    elif wav is not None and wav.missing_bytes:
        lost = f"{wav.missing_bytes} bytes"
        if wav.missing_s is not None:
            lost += f", {wav.missing_s:.1f} s,"
        message = f"The file ends {lost} before its header says; the {frames / rate_hz:.1f} s that are there were kept."
        yield ReportWarning(code="truncated", message=message)
    elif broke is not None and promised is not None:
        lost_s = max(0, promised - frames) / rate_hz
        message = f"Decoding broke off ({broke}): {lost_s:.1f} s of the recording are missing at its end."
        yield ReportWarning(code="truncated", message=message)
    elif promised is not None and frames < promised - _CODEC_BLOCK_FRAMES:
        message = (
            f"The file holds {frames} of the {promised} frames that its header promises; they were kept."
        )
        yield ReportWarning(code="truncated", message=message)
    elif opened.ogg is not None and opened.ogg.is_cut:
        message = (
            "The Ogg stream ends without its end mark: the recording is cut off, by how much cannot be told."
        )
        yield ReportWarning(code="truncated", message=message)


def _made_finite(samples: Samples) -> Iterator[ReportWarning]:
    """Put zeros for what is no number, in place; and say in which channel."""
    bad = ~np.isfinite(samples)
    for channel in np.flatnonzero(bad.any(axis=0)):
        message = f"{int(bad[:, channel].sum())} samples were NaN or infinite, and were set to zero."
        yield ReportWarning(code="not_finite", channel=int(channel), message=message)
    samples[bad] = 0.0
    for channel in np.flatnonzero(np.abs(samples).max(axis=0, initial=0.0) > _LOUDEST):
        message = "Samples went more than 24 dB over full scale, and were cut there."
        yield ReportWarning(code="out_of_range", channel=int(channel), message=message)
    np.clip(samples, -_LOUDEST, _LOUDEST, out=samples)


def _reason(error: Any) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    return text or type(error).__name__
