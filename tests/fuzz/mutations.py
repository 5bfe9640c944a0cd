"""Damage to a file, of the kinds that disks, networks, crashed recorders and people do."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import numpy as np

_HEADER_BYTES: Final = 256
# Lengths, counts and rates that programs trip over.
_AWKWARD: Final = (
    0,
    1,
    2,
    0x7F,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFF_FFFF,
    0x8000_0000,
    0xFFFF_1000,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
)
_NAMES: Final = (
    b"data",
    b"fmt ",
    b"fact",
    b"ds64",
    b"SSND",
    b"COMM",
    b"moov",
    b"mdat",
    b"stsz",
    b"stts",
    b"stco",
    b"esds",
    b"elst",
    b"OggS",
    b"OpusHead",
    b"desc",
)

Mutation = Callable[[np.random.Generator, bytearray], bytearray]


def _at(random: np.random.Generator, content: bytearray) -> int:
    return int(random.integers(max(1, len(content))))


def cut(random: np.random.Generator, content: bytearray) -> bytearray:
    """End early; often within the header."""
    most = min(len(content), _HEADER_BYTES) if random.random() < 0.4 else len(content)
    return content[: int(random.integers(most + 1))]


def flip_bits(random: np.random.Generator, content: bytearray) -> bytearray:
    """Flip some bits anywhere."""
    for _ in range(int(2 ** random.uniform(0, 8))):
        if content:
            content[_at(random, content)] ^= 1 << int(random.integers(8))
    return content


def spoil_header(random: np.random.Generator, content: bytearray) -> bytearray:
    """Change bytes near the beginning."""
    for _ in range(int(random.integers(1, 9))):
        if content:
            content[int(random.integers(min(len(content), _HEADER_BYTES)))] = int(random.integers(256))
    return content


def set_number(random: np.random.Generator, content: bytearray) -> bytearray:
    """Put an awkward number where the header, or a chunk behind its name, has one."""
    names = [content.find(name) for name in _NAMES]
    places = [at + 4 for at in names if at >= 0] + [at - 4 for at in names if at >= 4]
    at = int(random.integers(min(len(content), _HEADER_BYTES) + 1))
    if places and random.random() < 0.6:
        at = int(random.choice(places)) + 4 * int(random.integers(4))
    value = int(random.choice(np.array(_AWKWARD)))
    layout = str(random.choice(["<I", ">I", "<H", ">H", "<Q", ">Q"]))
    packed = struct.pack(layout, value & (0xFFFF if layout[1] == "H" else 0xFFFF_FFFF_FFFF_FFFF))
    if at + len(packed) <= len(content):
        content[at : at + len(packed)] = packed
    return content


def overwrite(random: np.random.Generator, content: bytearray) -> bytearray:
    """Lose a stretch to zeros, ones or noise."""
    at = _at(random, content)
    length = min(len(content) - at, int(2 ** random.uniform(0, 13)))
    filling = (bytes(length), b"\xff" * length, random.bytes(length))[int(random.integers(3))]
    content[at : at + length] = filling
    return content


def add_tail(random: np.random.Generator, content: bytearray) -> bytearray:
    """Go on with what does not belong there, at full scale."""
    length = int(2 ** random.uniform(0, 16))
    return content + (random.bytes(length) if random.random() < 0.5 else b"\xff\x7f\x00\x80" * (length // 4))


def put_in_front(random: np.random.Generator, content: bytearray) -> bytearray:
    """Begin with what does not belong there."""
    return bytearray(random.bytes(int(2 ** random.uniform(0, 11)))) + content


def shuffle(random: np.random.Generator, content: bytearray) -> bytearray:
    """Cut into pieces; put them together in another order, some twice, some not at all."""
    count = int(random.integers(2, 9))
    cuts = sorted(int(random.integers(len(content) + 1)) for _ in range(count))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    order = (
        random.integers(len(pieces), size=len(pieces))
        if random.random() < 0.5
        else random.permutation(len(pieces))
    )
    first = [pieces[0]] if random.random() < 0.7 else []
    return bytearray(b"".join([*first, *(pieces[int(index)] for index in order)]))


MUTATIONS: Final[tuple[Mutation, ...]] = (
    cut,
    flip_bits,
    spoil_header,
    set_number,
    set_number,
    overwrite,
    add_tail,
    put_in_front,
    shuffle,
)


def mutated(random: np.random.Generator, content: bytes, others: list[bytes]) -> tuple[bytes, str]:
    """Damage a file in one to three ways; now and then it first gets another file's beginning."""
    result, done = bytearray(content), []
    if random.random() < 0.05:
        other = others[int(random.integers(len(others)))]
        length = int(random.integers(1, _HEADER_BYTES))
        result[:length] = other[:length]
        done.append("another's beginning")
    for _ in range(int(random.choice([1, 1, 1, 2, 2, 3]))):
        mutation = MUTATIONS[int(random.integers(len(MUTATIONS)))]
        result = mutation(random, result)
        done.append(mutation.__name__)
    return bytes(result), ", ".join(done)
