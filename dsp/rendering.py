"""From prepared sound to the files of a rendition: level, limit, lay out, encode, and measure what came out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from dsp.audio import Limits, Pause, Samples, Source, paused
from dsp.chain import ResolvedRendition
from dsp.clock import Clock
from dsp.decode import opened
from dsp.encode import Encoder
from dsp.levelling import levelled
from dsp.loudness import EnergyMeter
from dsp.measurement import Measured, Meter
from dsp.preparing import Prepared
from dsp.report import (
    ChannelMeasurement,
    CleanedChannel,
    CleanedMeasurement,
    DenoiseOutcome,
    RenditionReport,
    ReportWarning,
)
from dsp.scratch import ScratchAudio
from dsp.stages import LimitTruePeak, NormalizeLoudness, Stage
from dsp.streams import filtered

_S = TypeVar("_S", bound=Stage)
_OVER_CEILING_DB: Final = 0.1  # what is less is not worth a word


@dataclass(frozen=True)
class Rendering:
    """Makes the files of one rendition from sound that was prepared for it."""

    rendition: ResolvedRendition
    source: Source
    linked: bool
    """Whether all channels are levelled by one gain, or each on its own."""
    folder: Path
    """Where outputs and scratch files go."""
    clock: Clock

    def rendered(self, sound: Prepared, warnings: list[ReportWarning]) -> list[RenditionReport]:
        """Write the files; give a report of each, and add what people should know to the warnings.

        Raises
        ------
        OSError
            A file cannot be written; nothing of it is left behind.
        """
        with ExitStack() as scratch:
            blocks = self._levelled(sound, warnings, linked=self.linked)
            mixed = self.rendition.layout == "mono" and sound.audio.channels > 1
            if mixed:
                # Each party was levelled for itself; the mix of them then has a loudness and peaks of its own.
                sound = self._mixed(sound, blocks, scratch)
                blocks = self._levelled(sound, warnings, linked=True)
            outputs = self._written(sound, blocks, mixed=mixed)
        return [self._report(output, sound, warnings) for output in outputs]

    def _levelled(self, sound: Prepared, warnings: list[ReportWarning], *, linked: bool) -> Iterator[Samples]:
        with self.clock.stage("normalize"):
            through, told = levelled(
                sound.audio,
                sound.energies,
                noisy=sound.noisy,
                linked=linked,
                normalize=_of(NormalizeLoudness, self.rendition.stages),
                limit=_of(LimitTruePeak, self.rendition.stages),
            )
        warnings += told
        return _silenced(
            filtered(sound.audio.blocks(), self.clock.timed("limit", through)),
            sound.audio.sample_rate_hz,
            sound.muted,
        )

    def _mixed(self, sound: Prepared, blocks: Iterator[Samples], scratch: ExitStack) -> Prepared:
        audio = scratch.enter_context(ScratchAudio(self.folder, sound.audio.sample_rate_hz, 1))
        meter = EnergyMeter(audio.sample_rate_hz, 1, sound.pauses)
        for block in blocks:
            mix = block.mean(axis=1, keepdims=True, dtype=np.float32)
            audio.write(mix)
            meter.push(mix)
        return replace(sound, audio=audio, energies=meter.finish(), noisy=(all(sound.noisy),))

    def _written(self, sound: Prepared, blocks: Iterator[Samples], *, mixed: bool) -> list[_Output]:
        channels, rate_hz = sound.audio.channels, sound.audio.sample_rate_hz
        split = self.rendition.layout == "split"
        parts = [[index] for index in range(channels)] if split else [list(range(channels))]
        with ExitStack() as files:
            outputs = []
            for part in parts:
                name = f"{self.rendition.name}-{part[0]}" if split else self.rendition.name
                path = self.folder / f"{name}.{self.rendition.format}"
                encoder = files.enter_context(
                    Encoder(
                        path,
                        format=self.rendition.format,
                        encoding=self.rendition.encoding,
                        bit_rate_kbps=self.rendition.bit_rate_kbps,
                        sample_rate_hz=rate_hz,
                        channels=len(part),
                    )
                )
                meter = Meter(rate_hz, len(part), sound.pauses)
                origins: list[int | None] = [None] if mixed else [*part]
                outputs.append(_Output(name, path, part, origins, encoder, meter))
            for block in blocks:
                self.clock.at(outputs[0].encoder.frames / max(sound.audio.frames, 1))
                for output in outputs:
                    with self.clock.stage("encode"):
                        heard = output.encoder.write(block[:, output.part[0] : output.part[-1] + 1])
                    with self.clock.stage("measure"):
                        output.meter.push(heard)
        return outputs

    def _report(self, output: _Output, sound: Prepared, warnings: list[ReportWarning]) -> RenditionReport:
        encoder = output.encoder
        if encoder.clipped:
            message = (
                f"{encoder.clipped} samples of `{output.name}` went over full scale and were clipped: the rendition "
                "has no `limit`."
            )
            warnings.append(ReportWarning(code="clipped", message=message))
        with self.clock.stage("measure"):
            measured = output.meter.finish() if encoder.exact else _decoded(output.path, sound.pauses)
        warnings += self._over_ceiling(output.name, measured.measurement.programme.true_peak_dbtp)
        return RenditionReport(
            name=output.name,
            path=str(output.path),
            format=self.rendition.format,
            sample_rate_hz=encoder.sample_rate_hz,
            channels=len(output.part),
            frames=encoder.frames,
            sha256=encoder.sha256,
            bytes=encoder.bytes,
            after=CleanedMeasurement(
                programme=measured.measurement.programme,
                channels=tuple(
                    self._channel(channel, origin, sound)
                    for channel, origin in zip(measured.measurement.channels, output.origins, strict=True)
                ),
            ),
        )

    def _over_ceiling(self, name: str, true_peak_dbtp: float | None) -> Iterator[ReportWarning]:
        limit = _of(LimitTruePeak, self.rendition.stages)
        if limit is None or true_peak_dbtp is None or true_peak_dbtp <= limit.ceiling_dbtp + _OVER_CEILING_DB:
            return
        how = self.rendition.encoding if self.rendition.encoding == "mulaw" else self.rendition.format
        message = (
            f"`{name}` reaches {true_peak_dbtp:.1f} dBTP once it is decoded, over the ceiling of "
            f"{limit.ceiling_dbtp:g}: {how} does not keep the waveform. "
            "Lower the ceiling, or choose another format, where it matters."
        )
        yield ReportWarning(code="over_ceiling", message=message)

    def _channel(self, channel: ChannelMeasurement, origin: int | None, sound: Prepared) -> CleanedChannel:
        told: dict[str, Any] = dict(channel)
        told["role"] = None if origin is None else self.source.role(origin)
        return CleanedChannel(**told, denoise=_denoise_outcome(sound.denoise, origin))


@dataclass(frozen=True)
class _Output:
    """One file while it is written."""

    name: str
    path: Path
    part: list[int]
    """Channels of the sound that go into it."""
    origins: list[int | None]
    """Which channel of the recording each of its channels is; None: a mix of all."""
    encoder: Encoder
    meter: Meter


def _of(kind: type[_S], stages: tuple[Stage, ...]) -> _S | None:
    return next((stage for stage in stages if isinstance(stage, kind)), None)


def _silenced(blocks: Iterator[Samples], sample_rate_hz: int, muted: tuple[Pause, ...]) -> Iterator[Samples]:
    """Put nothing into some stretches: a stage may have spread a little of what stands round them into them."""
    at = 0
    for block in blocks:
        if muted:
            block[paused(len(block), sample_rate_hz, muted, start=at)] = 0.0
        at += len(block)
        yield block


def _decoded(path: Path, pauses: tuple[Pause, ...]) -> Measured:
    """Measure a file of a lossy format as its readers will hear it."""
    with opened(Source(path=path), limits=Limits()) as recording:
        meter = Meter(recording.sample_rate_hz, recording.channels, pauses)
        for block in recording.blocks():
            meter.push(block)
    return meter.finish()


def _denoise_outcome(outcomes: tuple[DenoiseOutcome, ...], origin: int | None) -> DenoiseOutcome:
    if not outcomes:
        return DenoiseOutcome(method="none", applied=False, reason="the rendition has no denoise stage")
    if origin is not None:
        return outcomes[origin]
    # Of a mix: what was done to any of its parts.
    return next((outcome for outcome in outcomes if outcome.applied), outcomes[0])
