"""True-peak limiting: no peak between or on the samples above a ceiling."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dsp.stages.base import Context, Stage, together
from dsp.streams import Filter


class LimitTruePeak(Stage):
    """Keep the true peak of each channel at or below a ceiling.

    The gain falls before a peak and recovers after it along raised cosines: smoothly, in 5 ms and 20 ms, or fast, in
    0.5 ms each. Samples that no peak is near pass bit for bit.
    """

    name: ClassVar[str] = "limit"
    added: ClassVar[frozenset[str]] = frozenset({"link", "speed"})

    ceiling_dbtp: Annotated[float, Field(ge=-20.0, le=0.0)] = -1.5
    """Ceiling of the true peak in dBTP (ITU-R BS.1770-5, annex 2), -20 to 0."""
    link: bool | None = None
    """Whether one gain curve holds for all channels; left out: where they are levelled by one gain."""
    speed: Literal["auto", "smooth", "fast"] = "auto"
    """``smooth`` is the least that is heard on clean speech, ``fast`` keeps noisy speech nearest to its waveform;
    ``auto``: by the recording's noise."""

    def groups(self, channels: int, *, linked: bool) -> list[tuple[int, ...]]:
        """Channels that get one gain curve, together; ``linked``: whether they are levelled by one gain."""
        return together(channels, linked=linked if self.link is None else self.link)

    def open(self, context: Context) -> Filter:
        """Limit what comes, without any gain before."""
        from dsp.levelling import levelled  # noqa: PLC0415  (who reads a chain need not load the kernels)
        from dsp.speech import speech_levels  # noqa: PLC0415

        through, _ = levelled(
            context.audio,
            context.energies,
            noisy=[not speech_levels(decision).is_clean for decision in context.decisions],
            linked=context.linked,
            normalize=None,
            limit=self,
        )
        return through
