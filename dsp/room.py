"""Whether there is room on disk for what lies there while a recording is cleaned."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Final

from dsp.errors import TooLargeForScratch

_GB: Final = 1e9


def check_room(folder: Path, needed_bytes: float) -> None:
    """Refuse before any work what the disk cannot hold.

    Parameters
    ----------
    folder
        A folder on the disk.
    needed_bytes
        Bytes that will be written there.

    Raises
    ------
    TooLargeForScratch
        Not even the empty disk could.
    OSError
        ENOSPC: not now.
    """
    disk = shutil.disk_usage(folder)
    needed = f"Cleaning this recording takes {needed_bytes / _GB:.1f} GB of disk meanwhile"
    if needed_bytes > disk.total:
        raise TooLargeForScratch(
            f"{needed}, and the disk has {disk.total / _GB:.1f} GB in all: use a larger one."
        )
    if needed_bytes > disk.free:
        raise OSError(errno.ENOSPC, f"{needed}, and {disk.free / _GB:.1f} GB are free", str(folder))
