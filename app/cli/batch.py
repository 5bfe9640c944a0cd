"""Runs the engine over recordings: one at a time in this process, several at a time in processes of their own.

What fails is an outcome, not an end: the other recordings go on.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from app.cli.recordings import Job, shown

if TYPE_CHECKING:
    from dsp import Encoding, ResolvedChain, Source

# Far more than any recording needs on a machine that is not stuck.
_PATIENCE_S: Final = 300.0
_PATIENCE_A_SECOND: Final = 1.0
_FOR_EVER_S: Final = 1e9


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


@dataclass(frozen=True)
class Described:
    """What the recordings are said to be, all alike."""

    roles: tuple[str, ...] = ()
    """Who is heard, by channel."""
    encoding: Encoding | None = None
    """Of files without a header."""

    def source(self, recording: Path) -> Source:
        """A recording as the engine takes it."""
        from dsp import ChannelInfo, Source

        channels = tuple(ChannelInfo(role=role) for role in self.roles)
        return Source(path=recording, encoding=self.encoding, channels=channels)


Task = partial[Outcome]
"""What a process does; its first argument is the recording."""

Ended = Callable[[int, Outcome], None]
"""Is told each outcome as soon as there is one, with the index of its recording; out of order."""
Moved = Callable[[int, float], None]
"""Takes the place of a recording and how far the work on it is."""


@dataclass(frozen=True)
class Manner:
    """How a batch is gone about."""

    processes: int = 1
    """How many recordings are in work at a time."""
    durations_s: Sequence[float | None] = ()
    """What ``probed_durations_s`` told of the recordings; without it no process is given up."""
    ended: Ended = lambda _index, _outcome: None
    """Is told of each recording."""
    moved: Moved = lambda _index, _share: None
    """Is told how far the work on a recording is, from 0 to 1, where one is done at a time."""


def probed_durations_s(recordings: Sequence[Path], described: Described) -> list[float | None]:
    """Length of each recording as its header has it, in seconds; None where it cannot be told."""
    from dsp import DspError, Limits, probe_duration_s

    limits = Limits()

    def probed(recording: Path) -> float | None:
        try:
            told_s = probe_duration_s(described.source(recording), limits=limits)
        except (DspError, OSError):
            return None
        return told_s if told_s < limits.max_duration_s else None

    return [probed(recording) for recording in recordings]


def measure_all(
    recordings: Sequence[Path], described: Described, manner: Manner
) -> Generator[Outcome, None, None]:
    """Measure recordings; outcomes come in the order of the recordings."""
    with _ending_by_exception():
        yield from run([partial(_measure, path, described) for path in recordings], manner)


def clean_all(
    jobs: Sequence[Job], chain: ResolvedChain, described: Described, manner: Manner
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
                partial(_clean, job.recording, chain, described, place)
                for job, place in zip(jobs, places, strict=True)
            ]
            # Closed before the folder goes: nobody may be writing into it then.
            with closing(run(tasks, manner)) as outcomes:
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


def _measure(
    recording: Path, described: Described, *, moved: Callable[[float], None] | None = None
) -> Outcome:
    from dsp import measure

    return _tried(recording, lambda: measure(described.source(recording), moved=moved).to_json())


def _clean(
    recording: Path,
    chain: ResolvedChain,
    described: Described,
    place: Path,
    *,
    moved: Callable[[float], None] | None = None,
) -> Outcome:
    from dsp import clean

    def work() -> dict[str, Any]:
        place.mkdir()
        return clean(described.source(recording), chain, place, moved=moved).to_json()

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


def run(tasks: Sequence[Task], manner: Manner) -> Generator[Outcome, None, None]:
    """Do tasks; outcomes come in the order of the tasks.

    Where they are done side by side, a process that dies (out of memory, a library's crash) or hangs costs the
    recording that it was at, and no other.
    """
    if min(manner.processes, len(tasks)) > 1:
        yield from _side_by_side(tasks, manner)
        return
    for index, task in enumerate(tasks):
        outcome = task(moved=partial(manner.moved, index))
        manner.ended(index, outcome)
        yield outcome


def _side_by_side(tasks: Sequence[Task], manner: Manner) -> Generator[Outcome, None, None]:
    from app.cli.pool import Lost, side_by_side

    put_by: dict[int, Outcome] = {}
    awaited = 0
    with closing(side_by_side(tasks, manner.processes, _patience_s(tasks, manner))) as answers:
        for index, answer in answers:
            outcome = Outcome(tasks[index].args[0], error=answer.why) if isinstance(answer, Lost) else answer
            manner.ended(index, outcome)
            put_by[index] = outcome
            while awaited in put_by:
                yield put_by.pop(awaited)
                awaited += 1


def _patience_s(tasks: Sequence[Task], manner: Manner) -> list[float]:
    from dsp import Limits

    if not manner.durations_s:
        return [_FOR_EVER_S] * len(tasks)
    longest_s = Limits().max_duration_s
    return [
        _PATIENCE_S + _PATIENCE_A_SECOND * (longest_s if duration_s is None else duration_s)
        for duration_s in manner.durations_s
    ]


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
