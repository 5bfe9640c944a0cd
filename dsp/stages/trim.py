"""Trimming: nobody speaks yet, nobody speaks any more."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from dsp.passing import Untouched
from dsp.report import ReportWarning
from dsp.stages.base import Context, Stage
from dsp.streams import Filter


class Trim(Stage):
    """Leave out what is before the first speech and after the last, of all channels together.

    The one stage that changes the length. ``kept`` says which frames stay; whoever runs the chain leaves out the others
    before any other stage sees them, so that all else keeps its laws. Where no speech was found nothing is left out.
    """

    name: ClassVar[str] = "trim"

    keep_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.5
    """How much stays before the first speech and after the last, in seconds, 0 to 60."""

    def open(self, context: Context) -> Filter:
        """Let everything pass: the frames that go were left out before."""
        return Untouched(context.audio.channels)

    def kept(self, context: Context) -> tuple[int, int]:
        """Say which frames stay, and warn of those that go.

        Returns
        -------
        The first frame that stays, and the one after the last.
        """
        frames, rate_hz = context.audio.frames, context.audio.sample_rate_hz
        spoken = [
            (found[0] * decision.samples, (found[-1] + 1) * decision.samples)
            for decision in context.decisions
            if (found := np.flatnonzero(decision.speech)).size
        ]
        if not spoken:
            return 0, frames
        keep = round(self.keep_s * rate_hz)
        first = max(0, int(min(start for start, _ in spoken)) - keep)
        first -= first % context.decisions[0].samples  # so that the decisions can be cut there too
        end = min(frames, int(max(end for _, end in spoken)) + keep)
        if first > 0 or end < frames:
            message = (
                f"Nobody speaks in the first {first / rate_hz:.2f} s and the last {(frames - end) / rate_hz:.2f} s "
                "that were left out: times in the outputs are that much earlier than in the recording."
            )
            context.warnings.append(ReportWarning(code="trimmed", message=message))
        return first, end
