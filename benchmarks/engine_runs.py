"""Runs a program and tells what it took: wall time, CPU time, peak memory.

What the operating system tells of a process's peak memory (``ru_maxrss``) starts at what its parent had in memory when
it was started. So whoever measures must be small: this module and benchmarks.engine import nothing but the standard
library.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
_KIB_PER_MIB: Final = 1024
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Run:
    """What one piece of work took."""

    audio_s: float
    """Length of the recording."""
    wall_s: float
    cpu_s: float
    """User and system time of the process."""
    peak_mib: float
    """Most memory that the process had, in all its life."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the work says of itself."""

    @property
    def by_wall(self) -> float:
        """Seconds of audio a second."""
        return self.audio_s / self.wall_s

    @property
    def by_cpu(self) -> float:
        """Seconds of audio a second of CPU time."""
        return self.audio_s / self.cpu_s


@dataclass(frozen=True)
class Finished:
    """A program that has ended well."""

    output: str
    """Of both its streams."""
    wall_s: float
    cpu_s: float
    peak_mib: float


def finished(command: Sequence[str | Path]) -> Finished:
    """Run a program to its end.

    Raises
    ------
    RuntimeError
        It ended with an error; its last words are in the message.
    """
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603  (commands of ours)
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **_ONE_THREAD},
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{said[-2_000:]}")
    return Finished(said, wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / _KIB_PER_MIB)


def work(name: str, audio_s: float, *arguments: str | Path) -> Run:
    """Run a piece of benchmarks.engine_work in a process of its own; it measures itself once it is warm."""
    ended = finished([sys.executable, "-m", "benchmarks.engine_work", name, *arguments])
    told = json.loads(ended.output.splitlines()[-1])
    return Run(audio_s, told.pop("wall_s"), told.pop("cpu_s"), ended.peak_mib, told)


Contender = Callable[[], Run]


def in_turns(contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[Run]]:
    """Run all, one after another, and that so many times: A B C A B C ..., so that a slow minute hits all alike."""
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, contender in contenders.items():
            run = contender()
            runs[name].append(run)
            progress(f"round {turn + 1}/{rounds}  {name}: {run.by_wall:.0f} x, CPU {run.by_cpu:.0f} x")
    return runs


def median(runs: Sequence[Run], of: Callable[[Run], float]) -> float:
    """Give the median of a figure."""
    return statistics.median(of(run) for run in runs)


def times_faster(ours: Sequence[Run], theirs: Sequence[Run], of: Callable[[Run], float]) -> float:
    """Give the median of how many times faster ours is, over the rounds: each pair ran one after the other."""
    return statistics.median(of(own) / of(other) for own, other in zip(ours, theirs, strict=True))


def progress(line: str) -> None:
    """Tell whoever waits."""
    print(line, file=sys.stderr, flush=True)
