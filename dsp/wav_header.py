"""What a WAV file's header promises, compared with what the file holds: libsndfile reads a cut file without a word."""

from __future__ import annotations

import struct
from pathlib import Path

# Written by recorders that never learnt the length: 0, or "as long as it goes".
_UNKNOWN_LENGTH_FROM = 0xFFFF_0000


def missing_bytes(path: Path) -> int:
    """Give how many bytes of sample data the header promises and the file does not hold; 0 where it is whole.

    Files that are no WAV, and headers that do not know the length, miss nothing.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:12] != b"WAVE":
            return 0
        while len(chunk := file.read(8)) == 8:
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                held = size - file.tell()
                return 0 if length >= _UNKNOWN_LENGTH_FROM else max(0, length - held)
            file.seek(length + (length & 1), 1)
    return 0
