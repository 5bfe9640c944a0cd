"""The process executor over real processes: one that crashes, hangs or prints costs its own call, and no other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio
import soundfile

import dsp
from agents.errors import CallError, Outage
from app.executor import ProcessDspExecutor
from app.settings import Settings
from tests.support.waiting import until
from tests.support.work import CHAINS

# One event loop for the file: the processes, which take a second each to start, belong to it.
pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMORY_BYTES = Settings.model_fields["dsp_memory_bytes"].default
CHAIN = CHAINS.resolve()
LIMITS = dsp.Limits(max_duration_s=3600.0)


class Deadline:
    """Gives plenty unless told otherwise, and remembers for which durations it was asked."""

    def __init__(self) -> None:
        self.of: Callable[[float], float] = lambda _: 60.0
        self.asked: list[float] = []

    def __call__(self, duration_s: float) -> float:
        self.asked.append(duration_s)
        return self.of(duration_s)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    noise = np.random.default_rng(3).normal(0.0, 0.05, (16_000, 2))
    soundfile.write(path, noise * np.sin(np.arange(16_000) / 900.0)[:, None], 8_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def deadline() -> Deadline:
    return Deadline()


@pytest.fixture(autouse=True)
def _plenty(deadline: Deadline) -> None:
    deadline.of = lambda _: 60.0
    deadline.asked.clear()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def executor(
    deadline: Deadline, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ProcessDspExecutor]:
    """Two processes whose ``dsp.clean`` misbehaves on demand."""
    program = Path(__file__).parents[1] / "support" / "misbehaving_dsp.py"
    python = tmp_path_factory.mktemp("bin") / "python"
    # Called as: python -I -m dsp.child MEMORY_BYTES PARENT_PID
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{program}" "$4" "$5"\n')
    python.chmod(0o755)
    executor = ProcessDspExecutor(
        processes=2, limits=LIMITS, deadline=deadline, memory_bytes=MEMORY_BYTES, python=str(python)
    )
    await executor.open()
    yield executor
    await executor.close()
    assert not children()


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE
        and any(name in " ".join(child.cmdline()) for name in ("dsp.child", "misbehaving_dsp"))
    ]


async def clean(
    executor: ProcessDspExecutor, recording: Path, out_dir: Path, *, doing: str | None = None
) -> dsp.CleanReport:
    out_dir.mkdir(exist_ok=True)
    channels = (dsp.ChannelInfo(role="agent", name=doing),) if doing else ()
    return await executor.clean(dsp.Source(path=recording, channels=channels), CHAIN, out_dir)


def said_by(out_dir: Path) -> int:
    """The id of the process that cleaned (or began to clean) into the folder."""
    return int((out_dir / "pid").read_text())


async def test_what_comes_out_is_what_dsp_clean_gives(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    report = await clean(executor, recording, tmp_path / "out")

    (tmp_path / "direct").mkdir()
    direct = dsp.clean(dsp.Source(path=recording), CHAIN, tmp_path / "direct", limits=LIMITS)
    assert [r.sha256 for r in report.renditions] == [r.sha256 for r in direct.renditions]
    assert (report.before, report.chain, report.warnings) == (direct.before, direct.chain, direct.warnings)
    assert [r.after for r in report.renditions] == [r.after for r in direct.renditions]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["asr.wav", "listen.flac", "pid"]


async def test_what_the_dsp_refuses_is_the_calls_error(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    recording.write_bytes(b"")

    with pytest.raises(CallError) as refused:
        await clean(executor, recording, tmp_path / "out")

    assert (refused.value.code, refused.value.retriable) == ("empty_file", False)


@pytest.mark.parametrize(("doing", "how"), [("is killed", "by signal 9"), ("exits", "with status 3")])
async def test_a_process_that_dies_costs_its_call_alone_and_is_replaced(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path, doing: str, how: str
) -> None:
    dying, living = await asyncio.gather(
        clean(executor, recording, tmp_path / "dying", doing=doing),
        clean(executor, recording, tmp_path / "living"),
        return_exceptions=True,
    )

    assert isinstance(dying, CallError)
    assert (dying.code, dying.retriable) == ("dsp_crashed", True)
    assert how in dying.message
    assert isinstance(living, dsp.CleanReport)
    both = await asyncio.gather(*(clean(executor, recording, tmp_path / name) for name in ("a", "b")))
    assert all(both)
    assert len({said_by(tmp_path / "a"), said_by(tmp_path / "b")} - {said_by(tmp_path / "dying")}) == 2


async def test_a_call_that_takes_too_long_is_ended_with_its_process(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path, deadline: Deadline
) -> None:
    deadline.of = lambda duration_s: 0.3 if duration_s else 60.0

    with pytest.raises(CallError) as late:
        await clean(executor, recording, tmp_path / "out", doing="hangs")

    assert (late.value.code, late.value.retriable) == ("deadline_exceeded", True)
    assert deadline.asked == [0.0, 2.0], "first for an unknown duration, then for that of the recording"
    assert not psutil.pid_exists(said_by(tmp_path / "out"))
    deadline.of = lambda _: 60.0
    assert await clean(executor, recording, tmp_path / "next")


async def test_a_cancelled_call_is_ended_with_its_process(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    cleaning = asyncio.create_task(clean(executor, recording, tmp_path / "out", doing="hangs"))
    await until(lambda: (tmp_path / "out" / "pid").exists() and (tmp_path / "out" / "pid").read_text())

    cleaning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cleaning

    assert not psutil.pid_exists(said_by(tmp_path / "out"))
    assert await clean(executor, recording, tmp_path / "next")


async def test_no_more_calls_run_than_there_are_processes(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    busy = [
        asyncio.create_task(clean(executor, recording, tmp_path / f"busy-{n}", doing="hangs"))
        for n in range(2)
    ]
    await until(lambda: all((tmp_path / f"busy-{n}" / "pid").exists() for n in range(2)))
    waiting = asyncio.create_task(clean(executor, recording, tmp_path / "waiting"))
    await asyncio.sleep(0.3)
    assert not (tmp_path / "waiting" / "pid").exists()

    for task in busy:
        task.cancel()

    assert await waiting
    assert all(
        isinstance(ended, asyncio.CancelledError)
        for ended in await asyncio.gather(*busy, return_exceptions=True)
    )
    # The other process is started again when a call needs it.
    assert all(await asyncio.gather(*(clean(executor, recording, tmp_path / n) for n in ("a", "b"))))
    assert len(children()) == 2


async def test_too_much_memory_is_refused_and_the_process_is_as_good_as_before(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    before = {child.pid for child in children()}
    with pytest.raises(CallError) as refused:
        await clean(executor, recording, tmp_path / "out", doing="grabs memory")

    assert (refused.value.code, refused.value.retriable) == ("out_of_memory", False)
    assert await clean(executor, recording, tmp_path / "next")
    assert {child.pid for child in children()} == before


async def test_an_error_that_nobody_foresaw_is_told_in_words_that_can_be_kept(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(CallError) as failed:
        await clean(executor, recording, tmp_path / "out", doing="is wrong")

    assert (failed.value.code, failed.value.retriable) == ("dsp_failed", True)
    assert (
        failed.value.message
        == "The chain failed: ZeroDivisionError: half of a surrogate: \\ud800, nul: \\x00."
    )


async def test_a_full_disk_is_an_outage_and_not_the_calls_fault(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(Outage, match=r"scratch disk is away: .*No space left on device"):
        await clean(executor, recording, tmp_path / "out", doing="has no disk")


async def test_what_libraries_print_garbles_no_answer(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path
) -> None:
    report = await clean(executor, recording, tmp_path / "out", doing="prints")

    assert report.renditions
    assert await clean(executor, recording, tmp_path / "next")


async def test_a_process_gets_no_setting_and_is_bounded(executor: ProcessDspExecutor) -> None:
    assert len(children()) == 2
    for child in children():
        environment = child.environ()
        assert environment == {
            "LANG": "C.UTF-8",
            "MPLCONFIGDIR": "/nonexistent",
            "MKL_NUM_THREADS": "1",
            "NUMBA_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        } | {
            name: environment[name] for name in ("PWD",) if name in environment
        }  # a shell's own, see the fixture
        assert child.rlimit(psutil.RLIMIT_AS) == (MEMORY_BYTES, MEMORY_BYTES)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_NOFILE) == (64, 64)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_to_the_whole_group_ends_no_call(
    executor: ProcessDspExecutor, recording: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C on a terminal, or a supervisor that stops a service: the worker decides what becomes of the call."""
    before = {child.pid for child in children()}
    for pid in before:
        os.kill(pid, number)

    assert await clean(executor, recording, tmp_path / "out")
    assert {child.pid for child in children()} == before


async def test_a_process_that_does_not_start_is_an_outage(
    recording: Path, tmp_path: Path, deadline: Deadline
) -> None:
    broken = ProcessDspExecutor(
        processes=1, limits=LIMITS, deadline=deadline, memory_bytes=0, python="/bin/false"
    )

    with pytest.raises(Outage, match="DSP process is away: it does not start: with status 1"):
        await broken.open()


_PARENT = """
import asyncio, json, sys
from pathlib import Path
import dsp, psutil
from app.executor import ProcessDspExecutor

async def main():
    executor = ProcessDspExecutor(
        processes=1, limits=dsp.Limits(), deadline=lambda _: 60.0, memory_bytes=0
    )
    await executor.open()
    print(json.dumps({child.pid: child.environ() for child in psutil.Process().children()}), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_processes_end_with_a_parent_that_is_killed_and_know_none_of_its_secrets() -> None:
    parent = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-c", _PARENT],
        stdout=subprocess.PIPE,
        env={**os.environ, "CLEARCALL_S3_SECRET_KEY": "hush", "AWS_SECRET_ACCESS_KEY": "hush"},
        cwd=Path(__file__).parents[2],
    )
    try:
        assert parent.stdout is not None
        found = json.loads(await asyncio.to_thread(parent.stdout.readline))
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()

    (pid,) = found
    assert not [name for name, value in found[pid].items() if name.startswith("CLEARCALL") or "hush" in value]
    await until(
        lambda: not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE
    )
