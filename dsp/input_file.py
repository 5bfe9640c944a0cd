"""A recording's file: read at any place, hashed on the way, seen in part or with a few bytes put right."""

from __future__ import annotations

import hashlib
import io
import os
from types import TracebackType
from typing import Final, Self

from dsp.audio import Source
from dsp.errors import EmptyFile

_AHEAD_BYTES: Final = 1 << 16
_HASHED_AT_ONCE_BYTES: Final = 1 << 18


class InputFile:
    """A file that is open for reading; who reads it from front to back has its hash for no second pass.

    Raises
    ------
    EmptyFile
        It has no bytes.
    OSError
        It cannot be opened.
    """

    def __init__(self, source: Source) -> None:
        self._descriptor = os.open(source.path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self._descriptor).st_size
        """Length in bytes."""
        self.failed: OSError | None = None
        """What the disk said when it could not be read; libraries that read through callbacks lose it."""
        self._digest = hashlib.sha256()
        self._hashed = 0
        if self.size == 0:
            self.close()
            raise EmptyFile("The recording is empty: the file has no bytes.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read after this."""
        os.close(self._descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        """Read up to ``length`` bytes from ``offset`` on; fewer only at the file's end. Raises OSError."""
        try:
            content = os.pread(self._descriptor, length, offset)
            # A signal or a network file system may cut one read short.
            while len(content) < length and (more := self._more(offset, length, content)):
                content += more
        except OSError as error:
            self.failed = error
            raise
        new = self._hashed - offset
        if 0 <= new < len(content):
            self._digest.update(memoryview(content)[new:])
            self._hashed = offset + len(content)
        return content

    def sha256(self) -> str:
        """Give the hash of the whole file in hex; reads what was not read yet. Raises OSError."""
        while self.read_at(self._hashed, _HASHED_AT_ONCE_BYTES):
            pass
        return self._digest.hexdigest()

    def _more(self, offset: int, length: int, content: bytes) -> bytes:
        return os.pread(self._descriptor, length - len(content), offset + len(content))


class _Window(io.RawIOBase):
    def __init__(self, file: InputFile, start: int, length: int, patches: dict[int, bytes]) -> None:
        super().__init__()
        self._file, self._start, self._length = file, start, length
        self._patches = patches
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        room = memoryview(buffer).cast("B")
        wanted = max(0, min(len(room), self._length - self._at))
        try:
            content = self._file.read_at(self._start + self._at, wanted) if wanted else b""
        except OSError:
            return 0  # kept in the file's ``failed``: libsndfile cannot pass it on
        room[: len(content)] = content
        for at, patch in self._patches.items():
            _overlay(room[: len(content)], self._at, at, patch)
        self._at += len(content)
        return len(content)


def _overlay(content: memoryview, begins_at: int, patch_at: int, patch: bytes) -> None:
    """Put that part of a patch over the content that falls on it."""
    first, last = max(begins_at, patch_at), min(begins_at + len(content), patch_at + len(patch))
    if first < last:
        content[first - begins_at : last - begins_at] = patch[first - patch_at : last - patch_at]


def window(
    file: InputFile, start: int = 0, length: int | None = None, patches: dict[int, bytes] | None = None
) -> io.BufferedReader:
    """Give a part of a file as a file of its own; it has no name, so nobody can go by a suffix.

    Parameters
    ----------
    start, length
        Which bytes; all that follow where no length is given.
    patches
        Bytes to read in place of what is there, by their place in the window.
    """
    most = max(0, file.size - start)
    return io.BufferedReader(
        _Window(file, start, most if length is None else min(length, most), patches or {}), _AHEAD_BYTES
    )
