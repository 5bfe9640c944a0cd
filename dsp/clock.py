"""Adds up how long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

from dsp.audio import Samples
from dsp.report import Timing
from dsp.streams import Filter

T = TypeVar("T")

Moved: TypeAlias = Callable[[float], None]
"""Is told how far a recording's work is, from 0 to 1."""


class Clock:
    """Runs from when it is made.

    Parameters
    ----------
    moved
        Told how far the work is, from 0 to 1, now and then.
    """

    def __init__(self, moved: Moved | None = None) -> None:
        self._moved = moved
        self._span = 0.0, 1.0
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        self._stages_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens within as the stage's."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages_s[name] = self._stages_s.get(name, 0.0) + time.perf_counter() - started

    def span(self, begin: float, end: float) -> None:
        """Say which part of all the work follows, from 0 to 1."""
        self._span = begin, end

    def at(self, share: float) -> None:
        """Say how far the work of this part is, from 0 to 1."""
        if self._moved is not None:
            begin, end = self._span
            self._moved(begin + (end - begin) * min(share, 1.0))

    def each(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Count what the items take to come as the stage's."""
        while True:
            with self.stage(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def timed(self, name: str, through: Filter) -> Filter:
        """Count what a filter does as the stage's."""
        return _Timed(self, name, through)

    def timing(self, duration_s: float) -> Timing:
        """Give what was counted, for a recording of that many seconds."""
        wall_s = time.perf_counter() - self._wall_s
        return Timing(
            wall_s=round(wall_s, 6),
            cpu_s=round(time.process_time() - self._cpu_s, 6),
            realtime_factor=round(duration_s / max(wall_s, 1e-9), 3),
            stages_s={name: round(seconds, 6) for name, seconds in self._stages_s.items()},
        )


class _Timed:
    def __init__(self, clock: Clock, name: str, through: Filter) -> None:
        self._clock, self._name, self._through = clock, name, through

    def push(self, block: Samples) -> Samples:
        with self._clock.stage(self._name):
            return self._through.push(block)

    def finish(self) -> Samples:
        with self._clock.stage(self._name):
            return self._through.finish()
