"""Mains hum: 50 or 60 Hz and what is at their multiples."""

from __future__ import annotations

from typing import ClassVar

from dsp.hum import Hum, find_hum
from dsp.hum_filter import HumFilter
from dsp.passing import through
from dsp.report import ReportWarning
from dsp.stages.base import Context, Stage
from dsp.streams import Filter


class DeHum(Stage):
    """Take mains hum away from the channels that have it; the others pass bit for bit.

    The recording is read once before, and nothing need be told: whether it is 50 or 60 Hz, how it drifts, and which
    of its multiples up to 2 kHz stand out is measured. Each of those is followed and subtracted: a notch 1 Hz wide,
    and 0.1 Hz and less while somebody speaks.
    """

    name: ClassVar[str] = "dehum"

    def open(self, context: Context) -> Filter:
        """Find the hum of each channel, and begin with those that have some."""
        found = {
            channel: hum
            for channel, hum in enumerate(find_hum(context.audio, context.decisions))
            if hum is not None
        }
        context.warnings.extend(_removed(channel, hum) for channel, hum in found.items())
        decisions = [context.decisions[channel] for channel in found]
        wanted = HumFilter(context.audio.sample_rate_hz, list(found.values()), decisions) if found else None
        return through(wanted, list(found), context.audio.channels)


def _removed(channel: int, hum: Hum) -> ReportWarning:
    lines = len(hum.harmonics)
    low_hz, high_hz = float(hum.mains_hz.min()), float(hum.mains_hz.max())
    drift = f"{low_hz:.2f} Hz" if high_hz - low_hz < 0.01 else f"{low_hz:.2f} to {high_hz:.2f} Hz"  # noqa: PLR2004
    highest_hz = hum.harmonics[-1] * float(hum.mains_hz.mean())
    message = (
        f"Mains hum of {drift} at {hum.level_dbfs:.1f} dBFS was removed: {lines} "
        f"{'line' if lines == 1 else 'lines'} up to {highest_hz:.0f} Hz."
    )
    return ReportWarning(code="hum_removed", channel=channel, message=message)
