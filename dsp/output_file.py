"""A file that appears whole or not at all, and that does not lose what the disk said."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path


class OutputFile(io.RawIOBase):
    """A file that is written aside, and takes its name when all is well.

    Libraries that write through callbacks lose what a callback raises, so the first error is kept in ``failed`` too;
    after it nothing more is written.

    Raises
    ------
    OSError
        It cannot be created.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._aside = path.with_name(f".{path.name}.part")
        self._descriptor = os.open(self._aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self.failed: OSError | None = None

    def readable(self) -> bool:
        """A muxer may look back at what it wrote."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """Lengths are filled in at the end."""
        return True

    def tell(self) -> int:
        """Place of the next byte."""
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place."""
        return os.lseek(self._descriptor, offset, whence)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Read what was written."""
        return os.readv(self._descriptor, [buffer])

    def write(self, content: bytes | memoryview, /) -> int:  # type: ignore[override]
        """Write all of it, or nothing that counts: 0 after an error, which ``check`` raises."""
        if self.failed is not None:
            return 0
        left = memoryview(content).cast("B")
        written = len(left)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError as error:
            self.failed = error
            return 0
        return written

    def refuse(self) -> None:
        """Take nothing any more, without an error to anybody who tries: what is there will be discarded."""
        self.failed = self.failed or OSError("the output was given up")

    def check(self) -> None:
        """Raise the OSError that a write met."""
        if self.failed is not None:
            raise self.failed

    def publish(self) -> tuple[str, int]:
        """Give the file its name; answers its SHA-256 in hex and its length in bytes. Raises OSError."""
        self.check()
        self.seek(0)
        # Lengths in the header were filled in last, so the hash could not be taken on the way.
        sha256 = hashlib.file_digest(self, "sha256").hexdigest()
        size_bytes = self.tell()
        os.close(self._descriptor)
        self._descriptor = -1
        self._aside.replace(self._path)
        return sha256, size_bytes

    def discard(self) -> None:
        """Leave nothing behind. After ``publish``: does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._aside.unlink(missing_ok=True)
