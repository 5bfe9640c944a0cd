"""Runs the engine over recordings: small ones one by one in this process, others in processes of their own.

What fails is an outcome, not an end: the other recordings go on.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from app.cli.recordings import Job, shown

if TYPE_CHECKING:
    from dsp import ResolvedChain

_THREADS_OF_LIBRARIES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_QUICK_BYTES: Final = 4 << 20


class FolderError(Exception):
    """The outputs' folder cannot be written."""


@dataclass(frozen=True)
class Outcome:
    """What came of a recording: a report, or what went wrong."""

    recording: Path
    report: dict[str, Any] | None = None
    """In the public form."""
    error: str | None = None
    """For the person who reads it."""


Task = partial[Outcome]
"""What a process does; its first argument is the recording."""


def measure_all(
    recordings: Sequence[Path], roles: tuple[str, ...], processes: int
) -> Generator[Outcome, None, None]:
    """Measure recordings; outcomes come in the order of the recordings."""
    yield from run([partial(_measure, path, roles) for path in recordings], processes)


def clean_all(
    jobs: Sequence[Job], chain: ResolvedChain, roles: tuple[str, ...], processes: int
) -> Generator[Outcome, None, None]:
    """Clean recordings into their places; outcomes come in the order of the jobs.

    An output is made in a hidden folder beside its place and moved there when it is whole. The hidden folder goes
    however this ends, short of kill -9.

    Raises FolderError where nothing can be written into the outputs' folder.
    """
    if not jobs:
        return
    with _ending_by_exception():
        aside = _aside(jobs[0].folder)
        try:
            places = [aside / str(index) for index in range(len(jobs))]
            tasks = [
                partial(_clean, job.recording, chain, roles, place)
                for job, place in zip(jobs, places, strict=True)
            ]
            # Closed before the folder goes: nobody may be writing into it then.
            with closing(run(tasks, processes)) as outcomes:
                for job, place, outcome in zip(jobs, places, outcomes, strict=True):
                    yield _moved(job, outcome)
                    shutil.rmtree(place, ignore_errors=True)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _aside(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".clearcall-", dir=folder))
    except OSError as error:
        raise FolderError(
            f"Nothing can be written into {shown(folder)}: {error.strerror or error}."
        ) from error


def _source(recording: Path, roles: tuple[str, ...]) -> Any:
    from dsp import ChannelInfo, Source

    return Source(path=recording, channels=tuple(ChannelInfo(role=role) for role in roles))


def _measure(recording: Path, roles: tuple[str, ...]) -> Outcome:
    from dsp import measure

    return _tried(recording, lambda: measure(_source(recording, roles)).to_json())


def _clean(recording: Path, chain: ResolvedChain, roles: tuple[str, ...], place: Path) -> Outcome:
    from dsp import clean

    def work() -> dict[str, Any]:
        place.mkdir()
        return clean(_source(recording, roles), chain, place).to_json()

    return _tried(recording, work)


def _tried(recording: Path, work: Callable[[], dict[str, Any]]) -> Outcome:
    from dsp import DspError

    try:
        return Outcome(recording, report=work())
    except DspError as error:
        return Outcome(recording, error=str(error))
    except OSError as error:
        return Outcome(recording, error=f"{error.strerror or error}.")
    except MemoryError:
        return Outcome(recording, error="There is not enough memory for it; try fewer --jobs.")
    except Exception as error:  # noqa: BLE001 - one recording's trouble, whatever it is, must not cost the others
        return Outcome(recording, error=f"The engine failed: {type(error).__name__}: {error}")


def _moved(job: Job, outcome: Outcome) -> Outcome:
    if outcome.report is None:
        return outcome
    try:
        for rendition in outcome.report["renditions"]:
            made = Path(rendition["path"])
            place = job.targets[made.name]
            made.replace(place)
            rendition["path"] = str(place)
    except OSError as error:
        return Outcome(
            outcome.recording, error=f"The output cannot be put in its place: {error.strerror or error}."
        )
    return outcome


def run(tasks: Sequence[Task], processes: int) -> Generator[Outcome, None, None]:
    """Do tasks, in at most so many processes at a time; outcomes come in the order of the tasks.

    A process that dies (out of memory, a library's crash) costs the recording that it died of, and no other.
    """
    processes = min(processes, len(tasks))
    if processes <= 1 and all(_is_quick(task.args[0]) for task in tasks):
        for task in tasks:
            yield task()
        return
    waiting = deque(tasks)
    done: dict[Task, Outcome] = {}
    while waiting:
        yield from _until_one_dies(waiting, done, processes)
        if waiting:
            # It was at work on this one or on one soon after: alone, a recording can only bring down itself.
            yield _alone(waiting.popleft())


def _is_quick(recording: Path) -> bool:
    """Whether a recording is done before a process of its own has started.

    Also, Ctrl-C is only heard between two steps of the engine, and a step of a long recording takes many seconds.
    """
    try:
        return recording.stat().st_size <= _QUICK_BYTES
    except OSError:
        return True  # to be reported


def _until_one_dies(
    waiting: deque[Task], done: dict[Task, Outcome], processes: int
) -> Generator[Outcome, None, None]:
    """Take tasks off the queue as they are done; those done after one that was lost are put by, in ``done``."""
    with _processes(processes, [task for task in waiting if task not in done]) as futures:
        while waiting:
            task = waiting[0]
            try:
                outcome = done.pop(task) if task in done else futures[task].result()
            except BrokenProcessPool:
                left = set(waiting)
                done.update(
                    (later, future.result())
                    for later, future in futures.items()
                    if later in left and future.done() and not future.exception()
                )
                return
            waiting.popleft()
            yield outcome


def _alone(task: Task) -> Outcome:
    with _processes(1, [task]) as futures:
        try:
            return futures[task].result()
        except BrokenProcessPool:
            return Outcome(task.args[0], error="The process that worked on it died; memory may have run out.")


@contextmanager
def _processes(count: int, tasks: Sequence[Task]) -> Iterator[dict[Task, Future[Outcome]]]:
    """Start processes and give them tasks; however the block ends, none of them is left."""
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_process
    )
    try:
        with _ctrl_c_later():
            futures = {task: executor.submit(_do, task) for task in tasks}
        yield futures
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        executor.shutdown(wait=True)


def _do(task: Task) -> Outcome:
    return task()


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back for the length of the block; processes started in it never get it: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_process() -> None:
    # One thread each: the processes are already as many as the cores. Read when numpy is first imported.
    for name in _THREADS_OF_LIBRARIES:
        os.environ.setdefault(name, "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _ending_by_exception() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind the program as Ctrl-C does, so that nothing is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
