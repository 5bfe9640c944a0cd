"""PCM of 8 and 16 bit, mu-law and A-law: read by ourselves, which costs half of what a library takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Encoding, Samples
from dsp.decode_reader import BLOCK_FRAMES, StreamFacts
from dsp.input_file import InputFile
from dsp.wav_header import WavFormat, WavHeader

_SCALE: Final = np.float32(1.0 / 32_768.0)


def _mu_law() -> NDArray[np.float32]:
    """Decode each byte (ITU-T G.711, table 2a): 3 bits of exponent and 4 of mantissa, all inverted."""
    code = ~np.arange(256, dtype=np.uint8)
    magnitude = ((code & 0x0F).astype(np.int32) * 8 + 0x84) << (code >> 4 & 7)
    return np.where(code & 0x80, 0x84 - magnitude, magnitude - 0x84).astype(np.float32) * _SCALE


def _a_law() -> NDArray[np.float32]:
    """Decode each byte (ITU-T G.711, table 1a): even bits inverted, the lowest two segments alike."""
    code = np.arange(256, dtype=np.uint8) ^ np.uint8(0x55)
    exponent = (code >> 4 & 7).astype(np.int32)
    mantissa = (code & 0x0F).astype(np.int32) * 16 + 8
    magnitude = np.where(exponent == 0, mantissa, (mantissa + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.float32) * _SCALE


_TABLES: Final = {
    "pcm_mulaw": _mu_law(),
    "pcm_alaw": _a_law(),
    "pcm_u8": (np.arange(256, dtype=np.float32) - 128) * np.float32(1 / 128),
}
_TAGS: Final = {(1, 8): "pcm_u8", (1, 16): "pcm_s16le"}
_G711_TAGS: Final = {6: "pcm_alaw", 7: "pcm_mulaw"}
_ENCODINGS: Final = {"slin": "pcm_s16le", "ulaw": "pcm_mulaw", "alaw": "pcm_alaw"}


class PcmReader:
    """Samples of one or two bytes each, interleaved."""

    def __init__(self, file: InputFile, facts: StreamFacts, start: int, length: int) -> None:
        self.facts = facts
        self.broke: str | None = None
        self.lost_frames = self.gap_frames = 0
        self._file = file
        self._start, self._length = start, length

    def blocks(self) -> Iterator[Samples]:
        """Give the samples once; a part of a frame at the end is left out."""
        channels = self.facts.channels
        frame_bytes = _frame_bytes(self.facts.codec, channels)
        table = _TABLES.get(self.facts.codec)
        whole = self._length // frame_bytes * frame_bytes
        at = 0
        while at < whole:
            content = self._file.read_at(self._start + at, min(BLOCK_FRAMES * frame_bytes, whole - at))
            frames = len(content) // frame_bytes
            if frames == 0:
                return
            samples = np.empty((frames, channels), dtype=np.float32, order="F")
            if table is None:
                codes = np.frombuffer(content, "<i2", frames * channels).reshape(frames, channels)
                for channel in range(channels):
                    np.multiply(codes[:, channel], _SCALE, out=samples[:, channel])
            else:
                codes = np.frombuffer(content, np.uint8, frames * channels).reshape(frames, channels)
                for channel in range(channels):
                    # Every byte is in the table; "clip" only spares the check of it.
                    np.take(table, codes[:, channel], out=samples[:, channel], mode="clip")
            yield samples
            at += frames * frame_bytes


def open_wav(file: InputFile, wav: WavHeader, container: str) -> PcmReader | None:
    """Give a reader for the samples of a WAV file; None where they are of another kind."""
    codec = _wav_codec(wav.format)
    if codec is None:
        return None
    facts = _facts(container, codec, wav.format.sample_rate_hz, wav.format.channels, wav.data_bytes)
    return PcmReader(file, facts, wav.data_at, wav.data_bytes)


def open_headerless(file: InputFile, encoding: Encoding) -> PcmReader | None:
    """Give a reader for a file without a header; None where its samples are of another kind."""
    codec = _ENCODINGS.get(encoding.format)
    if codec is None:
        return None
    facts = _facts("raw", codec, encoding.sample_rate_hz, encoding.channels, file.size)
    return PcmReader(file, facts, 0, file.size)


def _wav_codec(wav: WavFormat) -> str | None:
    codec = _G711_TAGS.get(wav.tag) or _TAGS.get((wav.tag, wav.bits))
    if codec is None or wav.channels == 0:
        return None
    fits = wav.block_bytes == _frame_bytes(codec, wav.channels)
    # Some write 16 bits or a block of 1 for G.711, of which there is but one form.
    return codec if fits or wav.tag in _G711_TAGS else None


def _frame_bytes(codec: str, channels: int) -> int:
    return channels * (2 if codec == "pcm_s16le" else 1)


def _facts(container: str, codec: str, sample_rate_hz: int, channels: int, length: int) -> StreamFacts:
    frames = length // max(1, _frame_bytes(codec, channels))
    return StreamFacts(container, codec, sample_rate_hz, channels, frames, exact_bits=16)
