"""What a disk cannot hold is told before the work, and whether waiting can help."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from dsp.errors import TooLargeForScratch
from dsp.room import check_room


@pytest.fixture(autouse=True)
def _disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(total=8_000_000_000, free=2_000_000_000)
    )


def test_what_fits_passes() -> None:
    assert check_room(Path(), 2_000_000_000) is None  # type: ignore[func-returns-value]


def test_what_has_no_room_now_is_a_full_disk() -> None:
    with pytest.raises(OSError, match=r"takes 5\.0 GB of disk meanwhile, and 2\.0 GB are free") as refused:
        check_room(Path("/scratch"), 5_000_000_000)
    assert refused.value.errno == errno.ENOSPC
    assert refused.value.filename == "/scratch"


def test_what_never_has_room_is_the_recordings_fault() -> None:
    with pytest.raises(TooLargeForScratch, match=r"9\.0 GB .* 8\.0 GB in all") as refused:
        check_room(Path(), 9_000_000_000)
    assert (refused.value.code, refused.value.retriable) == ("too_large_for_scratch", False)
