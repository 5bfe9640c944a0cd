"""Recordings in every format that telephony writes, made in memory: by libsndfile, by FFmpeg, and by hand."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from dsp.audio import Encoding

RATE_HZ: Final = 8_000


@dataclass(frozen=True)
class AudioFile:
    """One file, and what is to be read from it."""

    name: str
    content: bytes
    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    frames: int | None
    """As they went in; None where the content means nothing."""
    encoding: Encoding | None = None


def tone(frames: int, channels: int = 1, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """A tone of another pitch in each channel, about 300 Hz, shape (frames, channels)."""
    time_s = np.arange(frames)[:, None] / rate_hz
    samples: NDArray[np.float32] = (
        0.4 * np.sin(time_s * (300 + 110 * np.arange(channels)) * 2 * np.pi)
    ).astype(np.float32)
    return samples


def by_sndfile(
    samples: NDArray[np.float32],
    container: str,
    subtype: str | None = None,
    rate_hz: int = RATE_HZ,
    **more: Any,
) -> bytes:
    """Encode with libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=container, subtype=subtype, **more)
    return file.getvalue()


def by_ffmpeg(
    samples: NDArray[np.float32], muxer: str, encoder: str, rate_hz: int = RATE_HZ, **more: str
) -> bytes:
    """Encode with FFmpeg."""
    file = io.BytesIO()
    layout = {1: "mono", 2: "stereo"}[samples.shape[1]]
    with av.open(file, "w", format=muxer) as container:
        stream = container.add_stream(encoder, rate=rate_hz, layout=layout, options=more)
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.open()
        frames = stream.codec_context.frame_size or 320
        for start in range(0, len(samples), frames):
            frame = _frame(samples[start : start + frames], stream.format.name, layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _frame(samples: NDArray[np.float32], form: str, layout: str) -> av.AudioFrame:
    scaled: NDArray[Any] = samples
    if form.startswith("s16"):
        scaled = np.rint(samples * 32_767).astype(np.int16)
    elif form.startswith("s32"):
        scaled = np.rint(samples.astype(np.float64) * 2_147_483_647).astype(np.int32)
    planes = scaled.T if form.endswith("p") else scaled.reshape(1, -1)
    return av.AudioFrame.from_ndarray(np.ascontiguousarray(planes), format=form, layout=layout)


def amr_wb(frames: int) -> bytes:
    """AMR-WB as stored (RFC 4867, section 5), of random parameters: there is no free encoder at hand."""
    noise = np.random.default_rng(5)
    first_mode = 0 << 3 | 0x04
    return b"#!AMR-WB\n" + b"".join(bytes([first_mode]) + noise.bytes(17) for _ in range(frames))


def speex(frames: int) -> bytes:
    """Speex in Ogg, narrow band at 15 kbit/s (submode 5), of random parameters."""
    noise = np.random.default_rng(6)
    header = struct.pack("<8s20s13i", b"Speex   ", b"1.2.1", 1, 80, RATE_HZ, 0, 4, 1, -1, 160, 0, 1, 0, 0, 0)
    comment = struct.pack("<I4sI", 4, b"test", 0)
    # A frame begins with a bit for "wide band", and four for the submode; the last byte is filled with a terminator.
    packets = [
        bytes([0b0010_1000 | int(noise.integers(8))]) + noise.bytes(36) + b"\x0f" for _ in range(frames)
    ]
    pages = [_ogg_page([header], 0, 0, 2), _ogg_page([comment], 0, 1, 0)]
    for number, start in enumerate(range(0, frames, 50), 2):
        end = min(start + 50, frames)
        pages.append(_ogg_page(packets[start:end], end * 160, number, 4 if end == frames else 0))
    return b"".join(pages)


def _ogg_page(packets: list[bytes], position: int, number: int, flags: int) -> bytes:
    """One page (RFC 3533, section 6) of packets that are shorter than 255 bytes."""
    page = bytearray(
        struct.pack("<4sBBqIIIB", b"OggS", 0, flags, position, 1, number, 0, len(packets))
        + bytes(map(len, packets))
        + b"".join(packets)
    )
    page[22:26] = struct.pack("<I", _ogg_crc(bytes(page)))
    return bytes(page)


def _ogg_crc(content: bytes) -> int:
    """Polynomial 0x04c11db7, not reflected, from 0: zlib's runs the other way round."""
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in content)
    return int(f"{zlib.crc32(reverse, 0xFFFF_FFFF) ^ 0xFFFF_FFFF:032b}"[::-1], 2)


def wav_of(tag: int, content: bytes, *, block_bytes: int, bytes_per_s: int, more: bytes = b"") -> bytes:
    """A mono WAV file of 8 kHz around frames of any codec."""
    fmt = struct.pack("<HHIIHHH", tag, 1, RATE_HZ, bytes_per_s, block_bytes, 0, len(more)) + more
    chunks = (
        struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + struct.pack("<4sI", b"data", len(content)) + content
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


_BY_SNDFILE: Final = [
    ("WAV", "PCM_16", "wav", "pcm_s16le", 2),
    ("WAV", "PCM_U8", "wav", "pcm_u8", 2),
    ("WAV", "PCM_24", "wav", "pcm_s24le", 2),
    ("WAV", "FLOAT", "wav", "pcm_f32le", 2),
    ("WAV", "ULAW", "wav", "pcm_mulaw", 2),
    ("WAV", "ALAW", "wav", "pcm_alaw", 2),
    ("WAV", "GSM610", "wav", "gsm", 1),
    ("WAV", "MS_ADPCM", "wav", "adpcm_ms", 2),
    ("WAV", "IMA_ADPCM", "wav", "adpcm_ima_wav", 2),
    ("WAVEX", "PCM_16", "wav", "pcm_s16le", 2),
    ("RF64", "PCM_16", "rf64", "pcm_s16le", 2),
    ("W64", "PCM_16", "w64", "pcm_s16le", 2),
    ("FLAC", "PCM_16", "flac", "flac", 2),
    ("FLAC", "PCM_24", "flac", "flac", 2),
    ("OGG", "VORBIS", "ogg", "vorbis", 2),
    ("OGG", "OPUS", "ogg", "opus", 2),
    ("MP3", "MPEG_LAYER_III", "mp3", "mp3", 2),
    ("AIFF", "PCM_16", "aiff", "pcm_s16be", 2),
    ("AU", "ULAW", "au", "pcm_mulaw", 2),
    ("CAF", "ALAW", "caf", "pcm_alaw", 2),
]
_BY_FFMPEG: Final = [
    ("wav", "libmp3lame", "wav", "mp3", RATE_HZ, 1),
    ("wav", "g722", "wav", "adpcm_g722", 16_000, 1),
    ("wav", "g726", "wav", "adpcm_g726", RATE_HZ, 1),
    ("webm", "libopus", "matroska", "opus", 48_000, 2),
    ("matroska", "aac", "matroska", "aac", 16_000, 2),
    ("matroska", "flac", "matroska", "flac", RATE_HZ, 2),
    ("ipod", "aac", "mp4", "aac", RATE_HZ, 2),
    ("mp4", "aac", "mp4", "aac", 44_100, 1),
    ("ipod", "alac", "mp4", "alac", RATE_HZ, 2),
    ("mp4", "libopus", "mp4", "opus", 48_000, 1),
    ("3gp", "libopencore_amrnb", "mp4", "amr_nb", RATE_HZ, 1),
    ("amr", "libopencore_amrnb", "amr", "amr_nb", RATE_HZ, 1),
    ("adts", "aac", "aac", "aac", RATE_HZ, 2),
]
_HEADERLESS: Final = [
    ("slin", "PCM_16", "pcm_s16le", 2),
    ("ulaw", "ULAW", "pcm_mulaw", 2),
    ("alaw", "ALAW", "pcm_alaw", 1),
    ("gsm", "GSM610", "gsm", 1),
]


def every_format(seconds: float = 2.5) -> list[AudioFile]:
    """One file of each format that is taken."""
    noise = np.random.default_rng(7)
    frames = round(seconds * RATE_HZ)
    files = [
        AudioFile(
            f"{container}-{subtype}",
            by_sndfile(tone(frames, channels), container, subtype),
            name,
            codec,
            RATE_HZ,
            channels,
            frames,
        )
        for container, subtype, name, codec, channels in _BY_SNDFILE
    ]
    for muxer, encoder, name, codec, rate_hz, channels in _BY_FFMPEG:
        count = round(seconds * rate_hz)
        content = by_ffmpeg(tone(count, channels, rate_hz), muxer, encoder, rate_hz)
        files.append(AudioFile(f"{muxer}-{encoder}", content, name, codec, rate_hz, channels, count))
    for form, subtype, codec, channels in _HEADERLESS:
        content = by_sndfile(tone(frames, channels), "RAW", subtype)
        encoding = Encoding(form, RATE_HZ, channels)  # type: ignore[arg-type]
        files.append(AudioFile(f"raw-{form}", content, "raw", codec, RATE_HZ, channels, frames, encoding))
    wide = by_ffmpeg(tone(2 * frames, 1, 16_000), "g722", "g722", 16_000)
    files.append(AudioFile("raw-g722", wide, "raw", "adpcm_g722", 16_000, 1, 2 * frames, Encoding("g722")))
    packets = round(seconds * 50)
    by_hand: list[tuple[str, Callable[[], bytes], str, str, int]] = [
        ("amr-wb", lambda: amr_wb(packets), "amr", "amr_wb", 16_000),
        ("speex", lambda: speex(packets), "ogg", "speex", RATE_HZ),
        (
            "wav-g729",
            lambda: wav_of(0x83, noise.bytes(20 * packets), block_bytes=10, bytes_per_s=1000),
            "wav",
            "g729",
            RATE_HZ,
        ),
        (
            "wav-truespeech",
            lambda: wav_of(0x22, noise.bytes(32 * packets), block_bytes=32, bytes_per_s=1067, more=bytes(32)),
            "wav",
            "truespeech",
            RATE_HZ,
        ),
    ]
    for name, make, container, codec, rate_hz in by_hand:
        files.append(AudioFile(name, make(), container, codec, rate_hz, 1, None))
    return files
