"""How far a batch of recordings is: by their seconds of audio, since a long call takes longer than a short one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

_WORTH_A_BAR_S: Final = 600.0
"""Of audio: less is cleaned before a bar has been drawn."""


class Pace:
    """Counts the seconds of audio that are done, and tells from them what is left.

    Parameters
    ----------
    durations_s
        Length of each recording, in seconds; None where its header does not tell.
    clock
        Seconds that pass.
    """

    def __init__(
        self, durations_s: Sequence[float | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._began_at = clock()
        self._last_at = self._began_at
        self._left_s: dict[int, float | None] = dict(enumerate(durations_s))
        self._ended_s = 0.0
        self._under_way_s = 0.0
        self.recordings = len(durations_s)
        """How many there are."""

    def ended(self, index: int, duration_s: float | None) -> None:
        """Count a recording: as long as it turned out to be; None: it failed, and counts for nothing."""
        self._left_s.pop(index, None)
        self._ended_s += duration_s or 0.0
        self._under_way_s = 0.0
        self._last_at = self._clock()

    def moved(self, index: int, share: float) -> None:
        """Count the part of the one recording in work that is done, from 0 to 1."""
        self._under_way_s = (self._left_s.get(index) or 0.0) * share
        self._last_at = self._clock()

    @property
    def done_s(self) -> float:
        """Seconds of audio that are done."""
        return self._ended_s + self._under_way_s

    @property
    def recordings_done(self) -> int:
        """How many have ended."""
        return self.recordings - len(self._left_s)

    @property
    def total_s(self) -> float:
        """Seconds of audio in all, as far as is known: those of unknown length are taken to be like the others."""
        known = [duration_s for duration_s in self._left_s.values() if duration_s is not None]
        counted = len(known) + self.recordings_done
        typical_s = (sum(known) + self._ended_s) / counted if counted else 0.0
        return self._ended_s + sum(known) + typical_s * (len(self._left_s) - len(known))

    @property
    def realtime_factor(self) -> float | None:
        """Seconds of audio a second, until the work last moved; None before it has."""
        elapsed_s = self._last_at - self._began_at
        return self.done_s / elapsed_s if elapsed_s > 0.0 and self.done_s > 0.0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at the pace so far; None where there is no pace yet."""
        factor = self.realtime_factor
        if factor is None:
            return None
        return max(0.0, (self.total_s - self.done_s) / factor - (self._clock() - self._last_at))

    def told(self) -> str:
        """The state in words, as in ``3/12  812 x real time  0:01:40 left``."""
        words = [f"{self.recordings_done}/{self.recordings}"]
        factor, left_s = self.realtime_factor, self.left_s
        if factor is not None and left_s is not None:
            words += [f"{factor:.0f} x real time", f"{_clock_time(left_s)} left"]
        return "  ".join(words)


def _clock_time(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02d}:{second:02d}"


@contextmanager
def bar(pace: Pace, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show the pace on standard error while the block runs; yields what is to be called when it has changed.

    Of so little audio that a bar would come too late, none is shown.
    """
    if not shown or pace.total_s < _WORTH_A_BAR_S:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TimeElapsedColumn
    from rich.text import Text

    class Told(ProgressColumn):
        def render(self, task: Task) -> Text:  # noqa: ARG002 - there is one
            return Text(pace.told())

    # Standard error goes through it: what is said on the way stands above the bar.
    with Progress(
        BarColumn(),
        Told(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=True,
    ) as progress:
        line = progress.add_task("recordings", total=pace.total_s)
        yield lambda: progress.update(line, completed=pace.done_s, total=pace.total_s)
