"""Room on disk for files in work: a folder a claim, removed when its work ends, swept where a worker was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import structlog

from agents.errors import Outage
from agents.ports import Claim

log = structlog.get_logger(__name__)
PART = "scratch disk"


class ScratchFolder:
    """A worker's own folder under SCRATCH_DIR; a lock on it tells the living from the dead."""

    def __init__(self, root: Path, *, min_free_bytes: int) -> None:
        self._root = root.absolute()
        self._min_free_bytes = min_free_bytes
        self._own = self._root / f"worker-{os.getpid()}-{os.urandom(4).hex()}"
        self._lock_fd: int | None = None
        self._said_full = False

    def open(self) -> Self:
        """Make the folder and sweep what killed workers left. Raises Outage."""
        with _translated():
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Locked before it has the name by which others look for what to sweep.
            unlocked = self._own.with_name(f"new-{self._own.name}")
            unlocked.mkdir(mode=0o700)
            self._lock_fd = _lock(unlocked)
            unlocked.rename(self._own)
            for other in self._root.glob("worker-*"):
                self._sweep(other)
        return self

    def close(self) -> None:
        """Remove the folder."""
        if self._lock_fd is not None:
            shutil.rmtree(self._own, ignore_errors=True)
            os.close(self._lock_fd)
            self._lock_fd = None

    @contextmanager
    def folder(self, claim: Claim) -> Iterator[Path]:
        """A folder of the claim's own with an empty ``out`` in it, removed at the end. Raises Outage."""
        path = self._own / f"{claim.result_id}-{claim.lease_token}"
        with _translated():
            (path / "out").mkdir(parents=True, mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def has_room(self) -> bool:
        """Whether there is enough free space to claim another call. Raises Outage."""
        with _translated():
            free_bytes = shutil.disk_usage(self._own).free
        full = free_bytes < self._min_free_bytes
        if full != self._said_full:
            self._said_full = full
            if full:
                log.error(
                    "no call is claimed: the scratch disk is nearly full; make room or set CLEARCALL_SCRATCH_DIR",
                    folder=str(self._root),
                    free_bytes=free_bytes,
                    needed_bytes=self._min_free_bytes,
                )
            else:
                log.info("the scratch disk has room again", free_bytes=free_bytes)
        return not full

    def _sweep(self, other: Path) -> None:
        if other == self._own:
            return
        try:
            fd = _lock(other)
        except OSError:
            return  # its worker lives
        try:
            shutil.rmtree(other, ignore_errors=True)
            log.info("swept what a killed worker left", folder=str(other))
        finally:
            os.close(fd)


def _lock(folder: Path) -> int:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Outage(PART, str(error)) from error
