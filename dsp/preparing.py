"""From the recording to what is levelled: the stages that shape the sound, once for all renditions that share them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from dsp.audio import Pause, Samples
from dsp.clock import Clock
from dsp.loudness import Energies, EnergyMeter
from dsp.passing import Untouched
from dsp.report import DenoiseOutcome, ReportWarning
from dsp.resample import Resampler
from dsp.scratch import ScratchAudio
from dsp.speech import Decision
from dsp.stages import Context, LimitTruePeak, NormalizeLoudness, Stage, Trim
from dsp.streams import Filter, filtered

_OF_A_RENDITION: Final = 0.6  # of the work on one, about, where there is anything to do


@dataclass(frozen=True)
class Prepared:
    """Sound on disk, ready to be levelled."""

    audio: ScratchAudio
    energies: Energies
    """What the loudness of the audio is read from."""
    decisions: tuple[Decision, ...]
    """Speech against noise in each channel of the recording."""
    pauses: tuple[Pause, ...]
    """In the audio's own time."""
    muted: tuple[Pause, ...]
    """Stretches to silence, in the audio's own time."""
    noisy: tuple[bool, ...]
    """Whether there is noise to speak of, by channel of the audio."""
    denoise: tuple[DenoiseOutcome, ...] = ()
    """By channel; empty where the chain has no denoiser."""
    warnings: tuple[ReportWarning, ...] = ()


@dataclass
class Preparation:
    """Prepares one recording in as many ways as its renditions ask for."""

    recording: Prepared
    """As decoded."""
    linked: bool
    """Whether all channels are levelled by one gain, or each on its own."""
    folder: Path
    """For scratch files."""
    files: ExitStack
    """Closes them."""
    clock: Clock
    _known: dict[tuple[tuple[Stage, ...], int], Prepared] = field(default_factory=dict)

    def prepared(self, stages: tuple[Stage, ...], sample_rate_hz: int) -> Prepared:
        """Run the stages that shape the sound, and bring it to a sample rate in Hz."""
        shaping = tuple(s for s in stages if not isinstance(s, (NormalizeLoudness, LimitTruePeak)))
        key = shaping, sample_rate_hz
        if key not in self._known:
            self._known[key] = self._prepare(shaping, sample_rate_hz)
        return self._known[key]

    def _prepare(self, shaping: tuple[Stage, ...], sample_rate_hz: int) -> Prepared:
        start = self.recording
        context = Context(
            audio=start.audio,
            decisions=start.decisions,
            energies=start.energies,
            linked=self.linked,
            pauses=start.pauses,
        )
        for trim in (stage for stage in shaping if isinstance(stage, Trim)):
            start = _trimmed(start, *trim.kept(context))
            context = replace(context, audio=start.audio, decisions=start.decisions, pauses=start.pauses)
        filters: list[tuple[str, Filter]] = []
        for stage in shaping:
            with self.clock.stage(stage.name):
                filters.append((stage.name, stage.open(context)))
        if sample_rate_hz != start.audio.sample_rate_hz:
            filters.append(("resample", Resampler(start.audio, sample_rate_hz)))
        filters = [(name, through) for name, through in filters if not isinstance(through, Untouched)]
        if filters or start is not self.recording:
            audio, energies = self._written(start, filters, sample_rate_hz)
            start = replace(start, audio=audio, energies=energies)
        return replace(start, denoise=tuple(context.denoise), warnings=tuple(context.warnings))

    def _written(
        self, start: Prepared, filters: list[tuple[str, Filter]], sample_rate_hz: int
    ) -> tuple[ScratchAudio, Energies]:
        channels = start.audio.channels
        audio = self.files.enter_context(ScratchAudio(self.folder, sample_rate_hz, channels))
        meter = EnergyMeter(sample_rate_hz, channels, start.pauses)
        blocks: Iterator[Samples] = start.audio.blocks()
        for name, through in filters:
            blocks = filtered(blocks, self.clock.timed(name, through))
        for block in blocks:
            with self.clock.stage("scratch"):
                audio.write(block)
            with self.clock.stage("measure"):
                meter.push(block)
            self.clock.at(_OF_A_RENDITION * audio.duration_s / start.audio.duration_s)
        return audio, meter.finish()


def _trimmed(recording: Prepared, first: int, end: int) -> Prepared:
    """Leave out what lies before a frame, and from another on; the first is a multiple of the decisions' frames."""
    if (first, end) == (0, recording.audio.frames):
        return recording
    rate_hz = recording.audio.sample_rate_hz

    def moved(pauses: tuple[Pause, ...]) -> tuple[Pause, ...]:
        return tuple(
            replace(p, start_s=p.start_s - first / rate_hz, end_s=p.end_s - first / rate_hz) for p in pauses
        )

    return replace(
        recording,
        audio=recording.audio.part(first, end),
        decisions=tuple(decision.part(first, end) for decision in recording.decisions),
        pauses=moved(recording.pauses),
        muted=moved(recording.muted),
    )
