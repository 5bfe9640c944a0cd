"""What was measured on a recording, as it stands in events: the shapes of the engine's report.

A value that is not defined for the audio (loudness of silence) is null, never NaN or infinity, and a warning
says why. Keys that a later version adds are kept.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Level = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Measured(BaseModel):
    """A part of a measurement; additional keys are kept."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        use_attribute_docstrings=True,
        json_schema_serialization_defaults_required=True,
    )


class LoudnessStatistics(Measured):
    """Loudness and peak of what was measured, as EBU R 128 looks at a programme."""

    integrated_lufs: Level | None = None
    """Integrated loudness (ITU-R BS.1770) in LUFS."""
    loudness_range_lu: Level | None = None
    """Loudness range (EBU Tech 3342) in LU."""
    true_peak_dbtp: Level | None = None
    """True peak in dBTP."""
    momentary_max_lufs: Level | None = None
    """Greatest loudness of 400 ms (EBU Tech 3341) in LUFS."""
    short_term_max_lufs: Level | None = None
    """Greatest loudness of 3 s (EBU Tech 3341) in LUFS."""
    silence_share: Share | None = None
    """Share of the time in which nobody speaks."""


class ProgrammeStatistics(LoudnessStatistics):
    """All channels of a file together: one programme."""


class ChannelStatistics(LoudnessStatistics):
    """One channel alone, measured as a mono programme."""

    index: Count
    """Place in the file, from 0."""
    role: str | None = None
    """Who is heard in it; null: not known."""
    sample_peak_dbfs: Level | None = None
    """Greatest sample in dB below full scale."""
    speech_level_dbfs: Level | None = None
    """Level of the active speech in dB below full scale."""
    noise_floor_dbfs: Level | None = None
    """Level of what remains between the speech in dB below full scale."""
    snr_db: Level | None = None
    """Speech level above the noise floor in dB."""
    clipped_samples: Count | None = None
    """Samples at full scale in runs that look clipped."""
    speech_s: Seconds | None = None
    """Seconds in which somebody speaks."""
    active_speech_level_dbfs: Level | None = None
    """Active speech level (ITU-T P.56, method B) in dB below full scale."""
    activity_factor: Share | None = None
    """Share of the time that is active by ITU-T P.56."""
    dc_offset: Level | None = None
    """Mean of all samples, full scale 1."""
    clipping_runs: Count | None = None
    """Runs of clipped samples."""
    dropouts: Count | None = None
    """Runs of zeros that cut into speech."""
    dropout_s: Seconds | None = None
    """Seconds in dropouts."""


class DenoiseOutcome(Measured):
    """What the denoiser did to a channel."""

    method: str
    """Which denoiser, as in rnnoise; none where there was nothing to do."""
    applied: bool
    """Whether the samples were changed."""
    reason: str | None = None
    """Why, as in snr 14.2 dB."""


class CleanedChannelStatistics(ChannelStatistics):
    """One channel of a rendition."""

    denoise: DenoiseOutcome | None = None
    """What the denoiser did; null: the rendition has no such stage."""


class Measurement(Measured):
    """A file as it came."""

    programme: ProgrammeStatistics
    """All channels together."""
    channels: tuple[ChannelStatistics, ...]
    """Each channel alone, in the file's order."""


class CleanedMeasurement(Measured):
    """A rendition as it was written."""

    programme: ProgrammeStatistics
    """All channels together."""
    channels: tuple[CleanedChannelStatistics, ...]
    """Each channel alone, in the file's order."""


class ReportWarning(Measured):
    """Something about the recording that people should know and that did not stop the work."""

    code: str
    """For programs, as in truncated."""
    channel: Count | None = None
    """The channel that it is about; null: the whole file."""
    message: str
    """For people."""


class Statistics(Measured):
    """What `call.cleaned` tells of the recording before anything was done to it."""

    before: Measurement
    """The recording as it came, without its pauses."""
    warnings: tuple[ReportWarning, ...] = ()
    """What is worth knowing; empty: nothing."""
