"""Loudness normalization: a constant gain that meets the target after the limiter."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from dsp.stages.base import Context, Stage
from dsp.streams import Filter


class NormalizeLoudness(Stage):
    """Bring each channel (independent) or the programme (linked) to a loudness.

    A limiter that follows lowers the loudness again; the gain is found with it in the loop, so that the target is
    met after it. Where loudness is undefined (BS.1770-5: under 400 ms, or below -70 LUFS) the level is kept.
    """

    name: ClassVar[str] = "normalize"

    target_lufs: Annotated[float, Field(ge=-30.0, le=-9.0)] = -16.0
    """Integrated loudness to reach in LUFS (ITU-R BS.1770-5), -30 to -9."""
    max_gain_db: Annotated[float, Field(ge=0.0, le=60.0)] = 30.0
    """Most amplification in dB, 0 to 60: a silent party stays silent."""

    def open(self, context: Context) -> Filter:
        """Level by the loudness of the recording itself, with no limiter behind."""
        from dsp.levelling import levelled  # noqa: PLC0415  (who reads a chain need not load the kernels)

        through, warnings = levelled(
            context.audio, context.energies, noisy=(), linked=context.linked, normalize=self, limit=None
        )
        context.warnings += warnings
        return through
