"""What a file's own structure says of it: libsndfile reads a cut file without a word."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

_CHUNK: Final = struct.Struct("<4sI")
_RIFF_BYTES: Final = 12
_RIFF_FORMS: Final = (b"RIFF", b"RF64", b"BW64")
# Beginnings that no headerless telephone audio has but by an accident of 1 in 4 thousand million.
_MAGIC: Final = (*_RIFF_FORMS, b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"caff")
# What recorders write that never come back to fill in the length; the last is "as long as it goes".
_PLACEHOLDERS: Final = (0x7FFF_FFFF, 0xFFFF_1000, 0xFFFF_FFFF)
_IN_DS64: Final = 0xFFFF_FFFF
_GREATEST: Final = 0xFFFF_FFFE

_MP3_TAG: Final = b"ID3"
_OGG_PAGE: Final = b"OggS"
_OGG_HEADER: Final = struct.Struct("<4sBBqIIIB")
_OGG_LARGEST_PAGE: Final = 27 + 255 + 255 * 255
_OGG_LAST: Final = 4


def looks_like_container(file: IO[bytes]) -> bool:
    """Tell whether a file begins as one that has a header. Of MP3 only the tagged are known."""
    head = file.read(4)
    file.seek(0)
    return head in _MAGIC or head.startswith(_MP3_TAG)


@dataclass(frozen=True)
class WavData:
    """The chunk of a WAV file that holds the samples."""

    length_at: int
    """Where its length stands, in bytes from the file's beginning."""
    promised_bytes: int
    """Its length after the header."""
    held_bytes: int
    """How much of the file follows."""
    bytes_per_s: int
    """Average bytes a second after the header; 0 where it says none."""
    next_chunk_follows: bool
    """Whether another chunk stands right behind it: then a length of 0 is meant."""

    @property
    def is_left_open(self) -> bool:
        """Whether the length was left at 0 and samples follow, which libsndfile does not read."""
        return self.promised_bytes == 0 and self.held_bytes > 0 and not self.next_chunk_follows

    @property
    def length_unknown(self) -> bool:
        """Whether the header does not know the length, and samples follow."""
        return self.is_left_open or (self.promised_bytes in _PLACEHOLDERS and self.missing_by > 0)

    @property
    def missing_by(self) -> int:
        """How many bytes less the file holds than the header says."""
        return max(0, self.promised_bytes - self.held_bytes)

    @property
    def missing_bytes(self) -> int:
        """The same, where the header knows what it says."""
        return 0 if self.promised_bytes in _PLACEHOLDERS else self.missing_by

    @property
    def missing_s(self) -> float | None:
        """The same in seconds; None where the header has no rate."""
        return self.missing_bytes / self.bytes_per_s if self.bytes_per_s else None


def wav_data(path: Path) -> WavData | None:
    """Find the samples of a WAV file; None where it is no WAV file, or has none."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_RIFF_BYTES)
        if len(head) < _RIFF_BYTES or head[:4] not in _RIFF_FORMS or head[8:] != b"WAVE":
            return None
        long_bytes: int | None = None
        bytes_per_s = 0
        while len(chunk := file.read(_CHUNK.size)) == _CHUNK.size:
            name, length = _CHUNK.unpack(chunk)
            start = file.tell()
            if name == b"data":
                # RF64 (EBU Tech 3306) keeps lengths over 4 GB in a chunk of their own.
                promised = long_bytes if long_bytes is not None and length == _IN_DS64 else length
                return WavData(start - 4, promised, size - start, bytes_per_s, _chunk_follows(file, size))
            if name == b"ds64":
                long_bytes = _unpacked(file, "<8xQ")
            if name == b"fmt ":
                bytes_per_s = _unpacked(file, "<8xI") or 0
            file.seek(start + length + (length & 1))
    return None


def with_length(path: Path, data: WavData) -> bytes:
    """Give a WAV file with the length of its samples filled in."""
    content = bytearray(path.read_bytes())
    content[data.length_at : data.length_at + 4] = struct.pack("<I", min(data.held_bytes, _GREATEST))
    content[4:8] = struct.pack("<I", min(len(content) - 8, _GREATEST))
    return bytes(content)


def _chunk_follows(file: IO[bytes], size: int) -> bool:
    """Tell whether what stands here is a chunk that ends within the file."""
    head = file.read(_CHUNK.size)
    if len(head) < _CHUNK.size:
        return False
    name, length = _CHUNK.unpack(head)
    readable = bytes(name).isascii() and bytes(name).decode().isprintable()
    return readable and file.tell() + int(length) <= size


def _unpacked(file: IO[bytes], layout: str) -> int | None:
    wanted = struct.calcsize(layout)
    read = file.read(wanted)
    return int(struct.unpack(layout, read)[0]) if len(read) == wanted else None


@dataclass(frozen=True)
class OggEnd:
    """How an Ogg file ends."""

    is_cut: bool
    """Whether its last page is not whole, or not marked as the last (RFC 3533, section 6)."""


def ogg_end(path: Path) -> OggEnd | None:
    """Look at the last page of an Ogg file; None where it is no Ogg file."""
    with path.open("rb") as file:
        if file.read(4) != _OGG_PAGE:
            return None
        file.seek(max(0, path.stat().st_size - _OGG_LARGEST_PAGE))
        tail = file.read()
    at = tail.rfind(_OGG_PAGE)
    if at < 0 or len(tail) < at + _OGG_HEADER.size:
        return OggEnd(is_cut=True)
    *_, segments = header = _OGG_HEADER.unpack_from(tail, at)
    table = tail[at + _OGG_HEADER.size :][:segments]
    whole = len(table) == segments and len(tail) >= at + _OGG_HEADER.size + segments + sum(table)
    return OggEnd(is_cut=not (whole and header[2] & _OGG_LAST))
