"""The scratch disk: a folder a claim, removed at its end; what a killed worker left is swept, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agents.errors import Outage
from app.scratch import ScratchFolder
from tests.support.work import claim, recorded

REPOSITORY = Path(__file__).parents[2]


def opened(root: Path) -> ScratchFolder:
    return ScratchFolder(root, min_free_bytes=0).open()


def test_a_claim_has_a_folder_of_its_own_until_its_work_ends(tmp_path: Path) -> None:
    scratch = opened(tmp_path / "scratch")
    first, second = claim(recorded("c-1"), lease_token=1), claim(recorded("c-1"), lease_token=2)
    with scratch.folder(first) as one, scratch.folder(second) as other:
        assert one != other
        assert list(one.iterdir()) == [one / "out"]
        assert one.parent.stat().st_mode & 0o777 == 0o700, "recordings are nobody else's to read"
        (one / "source").write_bytes(b"x")
        (one / "out" / "listen.flac").write_bytes(b"x")

    assert not one.exists()
    assert not other.exists()
    scratch.close()


def test_a_folder_is_removed_when_its_work_fails(tmp_path: Path) -> None:
    scratch = opened(tmp_path)
    with pytest.raises(ZeroDivisionError), scratch.folder(claim()):
        raise ZeroDivisionError

    assert list(next(tmp_path.iterdir()).iterdir()) == []
    scratch.close()


def test_the_folder_of_a_worker_goes_with_it(tmp_path: Path) -> None:
    scratch = opened(tmp_path / "not" / "there" / "yet")
    with scratch.folder(claim()) as folder:
        scratch.close()
        assert not folder.exists()

    assert list((tmp_path / "not" / "there" / "yet").iterdir()) == []
    scratch.close()


_WORKER = """
import sys
from pathlib import Path
from app.scratch import ScratchFolder
from tests.support.work import claim

with ScratchFolder(Path(sys.argv[1]), min_free_bytes=0).open().folder(claim()) as folder:
    (folder / "source").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_worker_left_is_swept_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-c", _WORKER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for _ in range(2)
    ]
    try:
        folders = []
        for worker in workers:
            assert worker.stdout is not None
            folders.append(Path(worker.stdout.readline().strip()))
        (tmp_path / "somebody-elses").mkdir()
        killed, living = workers
        killed.kill()
        killed.wait()
        assert (folders[0] / "source").exists(), "a killed worker cannot clean up after itself"

        scratch = opened(tmp_path)

        assert not folders[0].parent.exists()
        assert (folders[1] / "source").exists()
        assert (tmp_path / "somebody-elses").exists()
        scratch.close()
        living.communicate("", timeout=10)
        assert living.returncode == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def test_workers_that_start_at_the_same_moment_do_not_sweep_each_other(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def start_and_stop() -> None:
        try:
            for _ in range(60):
                scratch = opened(tmp_path)
                with scratch.folder(claim()) as folder:
                    assert (folder / "out").is_dir()
                scratch.close()
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=start_and_stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert list(tmp_path.iterdir()) == []


def test_a_nearly_full_disk_has_no_room(tmp_path: Path) -> None:
    free_bytes = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    plenty = ScratchFolder(tmp_path, min_free_bytes=free_bytes // 2).open()
    short = ScratchFolder(tmp_path, min_free_bytes=free_bytes * 2).open()

    assert plenty.has_room() is True
    assert [short.has_room() for _ in range(2)] == [False, False]
    plenty.close()
    short.close()


def test_a_disk_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Outage, match="scratch disk is away"):
        opened(tmp_path / "file" / "scratch")

    scratch = opened(tmp_path / "scratch")
    scratch.close()
    with pytest.raises(Outage, match="scratch disk is away"):
        scratch.has_room()
