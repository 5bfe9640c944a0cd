"""The report of a cleaning: what was measured, what was done, what came out. Its JSON form is a public contract.

A value that is undefined is None (null), never NaN or infinity, and a warning says why. Levels: ``_lufs`` loudness,
``_lu`` loudness differences, ``_dbtp`` true peak, ``_dbfs`` decibels below full scale. What came later has a
default, so that reports of before can be read.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_json(self) -> dict[str, Any]:
        """Give the part as plain JSON types."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Read what ``to_json`` gave. Raises pydantic.ValidationError."""
        return cls.model_validate(told)


class ReportWarning(_Part):
    """Something about the recording that people should know; ``channel`` is None where it is about all."""

    code: str
    channel: int | None = None
    message: str


class InputInfo(_Part):
    """The recording's file; ``frames`` and ``duration_s`` as decoded."""

    path: str
    sha256: str
    bytes: int
    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    frames: int
    duration_s: float


class ChainRef(_Part):
    """The chain that was run."""

    name: str
    digest: str


class Programme(_Part):
    """All channels together."""

    integrated_lufs: float | None
    loudness_range_lu: float | None
    true_peak_dbtp: float | None
    momentary_max_lufs: float | None = None
    short_term_max_lufs: float | None = None
    silence_share: float | None = None
    """Share of the time in which nobody speaks in any channel, 0 to 1."""


class ChannelMeasurement(_Part):
    """One channel alone, as a mono programme."""

    index: int
    role: str | None
    integrated_lufs: float | None
    loudness_range_lu: float | None
    true_peak_dbtp: float | None
    sample_peak_dbfs: float | None
    speech_level_dbfs: float | None
    noise_floor_dbfs: float | None
    snr_db: float | None
    clipped_samples: int
    speech_s: float
    momentary_max_lufs: float | None = None
    short_term_max_lufs: float | None = None
    active_speech_level_dbfs: float | None = None
    """By ITU-T P.56, method B."""
    activity_factor: float | None = None
    """Share of the time that is active by ITU-T P.56, 0 to 1."""
    silence_share: float | None = None
    """Share of the time in which nobody speaks, 0 to 1, by the decision that ``speech_s`` takes."""
    dc_offset: float | None = None
    """Mean of all samples, full scale 1."""
    clipping_runs: int | None = None
    """Runs of ``clipped_samples``."""
    dropouts: int | None = None
    """Runs of zeros that cut into speech."""
    dropout_s: float | None = None
    """Seconds in them."""


class Measurement(_Part):
    """A recording, or an output, as measured outside its pauses."""

    programme: Programme
    channels: tuple[ChannelMeasurement, ...]


class DenoiseOutcome(_Part):
    """What the denoiser did on a channel, and why."""

    method: str
    applied: bool
    reason: str


class CleanedChannel(ChannelMeasurement):
    """One channel of an output, and what was done about its noise."""

    denoise: DenoiseOutcome


class CleanedMeasurement(_Part):
    """An output as measured outside its pauses."""

    programme: Programme
    channels: tuple[CleanedChannel, ...]


class RenditionReport(_Part):
    """One output file."""

    name: str
    path: str
    format: str
    sample_rate_hz: int
    channels: int
    frames: int
    sha256: str
    bytes: int
    after: CleanedMeasurement


class Engine(_Part):
    """What computed the output: ``output_version`` is raised whenever the samples change."""

    output_version: int
    dsp: str


class Timing(_Part):
    """How long it took, in seconds; ``realtime_factor`` is duration over wall time. Part of no hash."""

    wall_s: float
    cpu_s: float
    realtime_factor: float
    stages_s: dict[str, float]


class MeasureReport(_Part):
    """What ``measure`` found."""

    input: InputInfo
    before: Measurement
    warnings: tuple[ReportWarning, ...]


class CleanReport(_Part):
    """What ``clean`` did."""

    input: InputInfo
    chain: ChainRef
    before: Measurement
    renditions: tuple[RenditionReport, ...]
    warnings: tuple[ReportWarning, ...]
    engine: Engine
    timing: Timing
