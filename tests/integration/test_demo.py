"""``clearcall demo`` as a new user runs it: the program, its words and its files."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import soundfile

from app.demo import EXAMPLES
from tests.support.worker import clearcall_environment, clearcall_program

_WITHIN_S = 100


def _demo(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        [clearcall_program(), "demo", *arguments],
        cwd=folder,
        env=clearcall_environment({"CLEARCALL_WORKERS": "2"}),
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )


def _rows(told: str) -> dict[str, tuple[float, ...]]:
    """Duration, loudness before and after, noise floor before and after, by call."""
    number = r"(-?\d+\.\d)"
    pattern = rf"^(\S+) +{number} s +{number} -> +{number} +{number} -> +{number} "
    return {
        match[1]: tuple(float(figure) for figure in match.groups()[1:])
        for match in re.finditer(pattern, told, re.MULTILINE)
    }


def test_the_examples_are_cleaned_shown_and_can_be_listened_to(tmp_path: Path) -> None:
    done = _demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = _rows(done.stdout)
    assert len(rows) == 6
    for call_id, (duration_s, _, after_lufs, _, _) in rows.items():
        path = tmp_path / f".clearcall/demo/outputs/{call_id}.listen.flac"
        assert str(path.relative_to(tmp_path)) in done.stdout
        assert soundfile.info(path).duration == pytest.approx(duration_s, abs=0.051)
        assert -18.0 < after_lufs < -14.0
    assert re.search(r"Status page +http://127\.0\.0\.1:\d+", done.stdout)
    assert "\x1b" not in done.stdout


def test_a_folder_of_ones_own_is_cleaned_shown_with_what_failed_and_kept_until_ctrl_c(tmp_path: Path) -> None:
    folder = tmp_path / "my calls"
    folder.mkdir()
    shutil.copy(EXAMPLES / "parcel.wav", folder / "first call.wav")
    (folder / "broken.wav").write_text("this is text")
    earlier = tmp_path / ".clearcall/demo/s3/clearcall/earlier.flac"
    earlier.parent.mkdir(parents=True)
    earlier.touch()
    log = tmp_path / "log"
    with log.open("wb") as output:
        demo = subprocess.Popen(  # noqa: S603
            [clearcall_program(), "demo", "--keep", "--recordings", folder],
            cwd=tmp_path,
            env=clearcall_environment({"CLEARCALL_WORKERS": "1"}),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _WITHIN_S
        while "until Ctrl-C" not in log.read_text():
            assert demo.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        told = log.read_text()
        assert set(_rows(told)) == {"first-call"}
        assert re.search(r"^broken .*failed: \S.*", told, re.MULTILINE)
        # A demo begins afresh.
        assert not earlier.exists()
        found = re.search(r"http://\S+", told)
        assert found is not None
        assert httpx.get(f"{found[0]}/status/first-call").json()["status"] == "cleaned"
        assert httpx.get(f"{found[0]}/status/broken").json()["status"] == "failed"
        os.kill(demo.pid, signal.SIGINT)
        # Not 0: a call failed.
        assert demo.wait(40) == 1, log.read_text()
    finally:
        demo.kill()
        demo.wait(10)


def test_a_folder_that_is_not_there_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    done = _demo(tmp_path, "--recordings", tmp_path / "absent")
    assert done.returncode == 1
    assert "is not a folder" in done.stderr
    assert not (tmp_path / ".clearcall").exists()
