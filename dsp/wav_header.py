"""The header of a WAV file: what it says, and how far that is true. Recorders leave it as it was when they died."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from dsp.input_file import InputFile

_CHUNK: Final = struct.Struct("<4sI")
_RIFF_BYTES: Final = 12
_MOST_CHUNKS: Final = 1_000  # before the samples; a file of empty chunks would else be walked for minutes
# What recorders write that never come back to fill in the length; the last is "as long as it goes".
_PLACEHOLDERS: Final = (0x7FFF_FFFF, 0xFFFF_1000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)
_SEARCHED_BYTES: Final = 4_096
_IN_DS64: Final = 0xFFFF_FFFF
_GREATEST: Final = 0xFFFF_FFFE
_EXTENSIBLE: Final = 0xFFFE


@dataclass(frozen=True)
class WavFormat:
    """The ``fmt`` chunk."""

    tag: int
    """Registered number of the codec; that of the sub-format where the header is an extensible one."""
    channels: int
    sample_rate_hz: int
    bytes_per_s: int
    """Average; 0 where it says none."""
    block_bytes: int
    """Length of what can be decoded by itself: a frame of PCM, a block of ADPCM."""
    bits: int
    """Of a sample; 0 where the codec has none."""


_NO_FORMAT: Final = WavFormat(tag=0, channels=0, sample_rate_hz=0, bytes_per_s=0, block_bytes=0, bits=0)


@dataclass(frozen=True)
class WavHeader:
    """A WAV file up to its samples."""

    format: WavFormat
    data_at: int
    """Where the samples begin, in bytes from the file's beginning."""
    promised_bytes: int
    """Their length after the header."""
    held_bytes: int
    """How much of the file follows."""
    next_chunk_follows: bool
    """Whether another chunk stands right behind it: then a length of 0 is meant."""

    @property
    def is_left_open(self) -> bool:
        """Whether the length was left at 0 and samples follow."""
        return self.promised_bytes == 0 and self.held_bytes > 0 and not self.next_chunk_follows

    @property
    def length_unknown(self) -> bool:
        """Whether the header does not know the length, and samples follow."""
        return self.is_left_open or (self.promised_bytes in _PLACEHOLDERS and self._missing_by > 0)

    @property
    def data_bytes(self) -> int:
        """How many bytes of samples there are: what is promised, as far as the file goes."""
        return self.held_bytes if self.is_left_open else min(self.promised_bytes, self.held_bytes)

    @property
    def missing_bytes(self) -> int:
        """How many bytes less the file holds than the header says, where the header knows what it says."""
        return 0 if self.promised_bytes in _PLACEHOLDERS else self._missing_by

    @property
    def missing_s(self) -> float | None:
        """The same in seconds; None where the header has no rate."""
        return self.missing_bytes / self.format.bytes_per_s if self.format.bytes_per_s else None

    def length_patches(self) -> dict[int, bytes]:
        """Give the bytes to read in place of a length that is not known, by their place in the file."""
        if not self.length_unknown:
            return {}
        return {
            4: struct.pack("<I", min(self.data_at + self.held_bytes - 8, _GREATEST)),
            self.data_at - 4: struct.pack("<I", min(self.held_bytes, _GREATEST)),
        }

    @property
    def _missing_by(self) -> int:
        return max(0, self.promised_bytes - self.held_bytes)


def wav_header(file: InputFile) -> WavHeader | None:
    """Read the header of a WAV or RF64 file; None where it has no samples.

    Where the length of a chunk leads astray, the chunks are searched for by their names.
    """
    return _walked(file) or _searched(file)


def _searched(file: InputFile) -> WavHeader | None:
    head = file.read_at(0, _SEARCHED_BYTES)
    fmt_at, data_at = head.find(b"fmt "), head.find(b"data")
    if not 0 < fmt_at < data_at or len(head) < data_at + _CHUNK.size:
        return None
    _, length = _CHUNK.unpack_from(head, data_at)
    at = data_at + _CHUNK.size
    wav_format = _format(head[fmt_at + _CHUNK.size : data_at])
    return WavHeader(wav_format, at, length, max(0, file.size - at), _chunk_follows(file, at + length))


def _walked(file: InputFile) -> WavHeader | None:
    at = _RIFF_BYTES
    long_bytes: int | None = None
    wav_format = _NO_FORMAT
    for _ in range(_MOST_CHUNKS):
        chunk = file.read_at(at, _CHUNK.size)
        if len(chunk) < _CHUNK.size:
            return None
        name, length = _CHUNK.unpack(chunk)
        at += _CHUNK.size
        if name == b"data":
            # RF64 (EBU Tech 3306) keeps lengths over 4 GB in a chunk of their own.
            promised = long_bytes if long_bytes is not None and length == _IN_DS64 else length
            follows = _chunk_follows(file, at + length)
            return WavHeader(wav_format, at, promised, max(0, file.size - at), follows)
        if name == b"ds64":
            long_bytes = _long_bytes(file.read_at(at, 16))
        if name == b"fmt ":
            wav_format = _format(file.read_at(at, min(length, 40)))
        at += length + (length & 1)
    return None


def _format(content: bytes) -> WavFormat:
    if len(content) < 16:  # noqa: PLR2004  (of the plainest form)
        return _NO_FORMAT
    tag, channels, rate_hz, bytes_per_s, block_bytes, bits = struct.unpack_from("<HHIIHH", content)
    if tag == _EXTENSIBLE and len(content) >= 26:  # noqa: PLR2004  (the first two bytes of the sub-format)
        (tag,) = struct.unpack_from("<H", content, 24)
    return WavFormat(tag, channels, rate_hz, bytes_per_s, block_bytes, bits)


def _long_bytes(content: bytes) -> int | None:
    return int(struct.unpack("<8xQ", content)[0]) if len(content) == 16 else None  # noqa: PLR2004


def _chunk_follows(file: InputFile, at: int) -> bool:
    """Tell whether what stands there is a chunk that ends within the file."""
    head = file.read_at(at, _CHUNK.size)
    if len(head) < _CHUNK.size:
        return False
    name, length = _CHUNK.unpack(head)
    readable = bytes(name).isascii() and bytes(name).decode().isprintable()
    return readable and at + _CHUNK.size + int(length) <= file.size
