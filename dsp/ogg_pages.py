"""The pages of an Ogg file (RFC 3533): libsndfile reads a cut or damaged one without a word."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from dsp.input_file import InputFile

_MAGIC: Final = b"OggS"
_HEADER: Final = struct.Struct("<4sBBqIIIB")
_CHECKSUM_AT: Final = 22
_LARGEST_PAGE: Final = 27 + 255 + 255 * 255
_USUAL_PAGE: Final = 8_192
_LAST: Final = 4
_MOST_FALSE_PAGES: Final = 10_000
_CODECS: Final = {
    b"OpusHead": "opus",
    b"\x01vorbis": "vorbis",
    b"Speex   ": "speex",
    b"\x7fFLAC": "flac",
}
_BITS_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_codec(file: InputFile) -> str | None:
    """Name the codec of the first stream; None where it is not known."""
    head = file.read_at(0, 512)
    body = head[_HEADER.size + (head[_HEADER.size - 1] if len(head) >= _HEADER.size else 0) :]
    return next((name for magic, name in _CODECS.items() if body.startswith(magic)), None)


def ogg_is_cut(file: InputFile) -> bool:
    """Tell whether the last page is not whole, or not marked as the last (section 6)."""
    tail = file.read_at(max(0, file.size - _LARGEST_PAGE), _LARGEST_PAGE)
    at = tail.rfind(_MAGIC)
    if at < 0 or len(tail) < at + _HEADER.size:
        return True
    *_, segments = header = _HEADER.unpack_from(tail, at)
    table = tail[at + _HEADER.size :][:segments]
    whole = len(table) == segments and len(tail) >= at + _HEADER.size + segments + sum(table)
    return not (whole and header[2] & _LAST)


@dataclass(frozen=True)
class _Page:
    length: int
    position: int
    """Ticks from the beginning to the end of what it completes; negative where it completes nothing."""
    number: int


def ogg_lost_ticks(file: InputFile) -> int:
    """Give how much time lies on pages that are damaged or missing between whole ones.

    Returns
    -------
    int
        Ticks of the stream's clock: frames; of Opus 1/48,000 s.
    """
    at: int | None = 0
    lost = false_pages = 0
    last: _Page | None = None
    while at is not None and false_pages < _MOST_FALSE_PAGES:
        page = _page(file, at)
        if page is None:
            false_pages += 1
            at = _next_magic(file, at + 1)
            continue
        if last is not None and page.number > last.number + 1 and page.position > last.position >= 0:
            missing = page.number - last.number - 1
            lost += (page.position - last.position) * missing // (missing + 1)  # the page itself is there
        last = page
        at += page.length
        if at >= file.size:
            break
    return lost


def _page(file: InputFile, at: int) -> _Page | None:
    """Read the page that stands there; None where there is none, or its checksum is wrong."""
    content = file.read_at(at, _USUAL_PAGE)
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        return None
    *_, position, _, number, checksum, segments = _HEADER.unpack_from(content)
    table = content[_HEADER.size :][:segments]
    length = _HEADER.size + segments + sum(table)
    if length > len(content):
        content = file.read_at(at, length)
    if len(table) < segments or len(content) < length or _checksum(content[:length]) != checksum:
        return None
    return _Page(length, position, number)


def _checksum(page: bytes) -> int:
    """Polynomial 0x04c11db7 from 0, the highest bit first (section 6): that of zlib, the other way round."""
    blank = page[:_CHECKSUM_AT] + bytes(4) + page[_CHECKSUM_AT + 4 :]
    register = zlib.crc32(blank.translate(_BITS_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int.from_bytes(register.to_bytes(4, "little").translate(_BITS_REVERSED))


def _next_magic(file: InputFile, at: int) -> int | None:
    while content := file.read_at(at, _LARGEST_PAGE):
        found = content.find(_MAGIC)
        if found >= 0:
            return at + found
        at += max(1, len(content) - len(_MAGIC) + 1)
    return None
