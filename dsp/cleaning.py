"""Cleans one recording: decode, measure, run each rendition's stages, encode, measure again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from dsp.audio import AudioBuffer, Limits, Pause, Source
from dsp.chain import OUTPUT_VERSION, ResolvedChain, ResolvedRendition
from dsp.decode import decode
from dsp.encode import dequantized, encode, quantized
from dsp.measurement import measure_audio, undefined_warnings
from dsp.report import (
    ChainRef,
    CleanedChannel,
    CleanedMeasurement,
    CleanReport,
    DenoiseOutcome,
    Engine,
    MeasureReport,
    RenditionReport,
    ReportWarning,
    Timing,
)
from dsp.stages import Context, Denoise, LimitTruePeak, NormalizeLoudness, Stage

_DEFAULT_LIMITS: Final = Limits()


def clean(
    source: Source, chain: ResolvedChain, out_dir: Path, *, limits: Limits = _DEFAULT_LIMITS
) -> CleanReport:
    """Clean a recording into files in ``out_dir``: ``<rendition>.<ext>``, or ``<rendition>-<channel>.<ext>``.

    Parameters
    ----------
    source
        The recording; it is only read.
    chain
        What to do.
    out_dir
        An existing folder. Files appear in it whole; those of the same names are replaced.
    limits
        What the recording may ask for.

    Raises
    ------
    RecordingError
        The recording cannot be cleaned.
    OSError
        The recording cannot be read, or an output not written.
    """
    clock = _Clock()
    with clock.stage("decode"):
        decoded = decode(source, limits=limits)
    with clock.stage("measure"):
        before = measure_audio(decoded.audio, source)
    muted = tuple(Pause(start_s=start_s, end_s=end_s) for start_s, end_s in chain.mute_s)
    audio = decoded.audio.silenced(muted)
    warnings = [*decoded.warnings, *undefined_warnings(before.channels, "the recording")]
    if chain.output_version != OUTPUT_VERSION:
        warnings.append(_other_version(chain))
    renditions: list[RenditionReport] = []
    for rendition in chain.renditions:
        context = Context(channels=chain.channels, pauses=source.pauses)
        for file in _files(audio, rendition, context, clock):
            # Once more: a stage may spread a little of what stands round a muted stretch into it.
            silenced = replace(file, audio=file.audio.silenced(muted))
            report = _written(silenced, rendition, source, context, out_dir, clock)
            renditions.append(report)
            known = {(warning.code, warning.channel) for warning in warnings}
            after = undefined_warnings(report.after.channels, f"`{report.name}`")
            warnings += [warning for warning in after if (warning.code, warning.channel) not in known]
        warnings += context.warnings
    return CleanReport(
        input=decoded.info,
        chain=ChainRef(name=chain.name, digest=chain.digest),
        before=before,
        renditions=tuple(renditions),
        warnings=tuple(warnings),
        engine=Engine(output_version=OUTPUT_VERSION, dsp=version("clearcall")),
        timing=clock.timing(audio.duration_s),
    )


def measure(source: Source, *, limits: Limits = _DEFAULT_LIMITS) -> MeasureReport:
    """Measure a recording and change nothing.

    Raises
    ------
    RecordingError
        The recording cannot be read.
    OSError
        The file cannot be opened.
    """
    decoded = decode(source, limits=limits)
    before = measure_audio(decoded.audio, source)
    warnings = (*decoded.warnings, *undefined_warnings(before.channels, "the recording"))
    return MeasureReport(input=decoded.info, before=before, warnings=warnings)


def warm_up() -> None:
    """Import and run what a call needs once, so that the first call does not wait for it."""
    noise = np.random.default_rng(0).normal(0, 0.1, (8_000, 1)).astype(np.float32)
    audio = AudioBuffer(noise, 8_000)
    stages = (Denoise(method="spectral_gate"), NormalizeLoudness(), LimitTruePeak())
    _processed(audio, stages, Context(channels="linked"), _Clock())
    measure_audio(audio, Source(path=Path()))


@dataclass(frozen=True)
class _File:
    """One file of a rendition before it is written."""

    suffix: str
    """What its name has behind the rendition's."""
    audio: AudioBuffer
    origins: tuple[int | None, ...]
    """Which channel of the recording each of its channels is; None: a mix of all."""


def _files(audio: AudioBuffer, rendition: ResolvedRendition, context: Context, clock: _Clock) -> list[_File]:
    """Run a rendition's stages and lay the result out."""
    processed = _processed(audio, rendition.stages, context, clock)
    every = range(audio.channels)
    if rendition.layout == "split":
        return [
            _File(f"-{index}", AudioBuffer(processed.samples[:, [index]], audio.sample_rate_hz), (index,))
            for index in every
        ]
    if rendition.layout == "mono" and audio.channels > 1:
        # Each party was levelled for itself; the mix of them then has a loudness and peaks of its own.
        mixed = processed.samples.mean(axis=1, keepdims=True, dtype=np.float32)
        levelling = tuple(s for s in rendition.stages if isinstance(s, (NormalizeLoudness, LimitTruePeak)))
        mix_context = Context(channels="linked", pauses=context.pauses)
        relevelled = _processed(AudioBuffer(mixed, audio.sample_rate_hz), levelling, mix_context, clock)
        context.warnings += mix_context.warnings
        return [_File("", relevelled, (None,))]
    return [_File("", processed, tuple(every))]


def _processed(audio: AudioBuffer, stages: tuple[Stage, ...], context: Context, clock: _Clock) -> AudioBuffer:
    for index, stage in enumerate(stages):
        context.following = stages[index + 1 :]
        with clock.stage(stage.name):
            audio = stage.process(audio, context)
    return audio


def _written(
    file: _File,
    rendition: ResolvedRendition,
    source: Source,
    context: Context,
    out_dir: Path,
    clock: _Clock,
) -> RenditionReport:
    name = f"{rendition.name}{file.suffix}"
    path = out_dir / f"{name}.{rendition.format}"
    samples = quantized(file.audio)
    with clock.stage("encode"):
        sha256, size_bytes = encode(samples, file.audio.sample_rate_hz, path, file_format=rendition.format)
    if (over := int((np.abs(file.audio.samples) > 1.0).sum())) > 0:
        message = (
            f"{over} samples of `{name}` went over full scale and were clipped: the rendition has no `limit`."
        )
        context.warnings.append(ReportWarning(code="clipped", message=message))
    with clock.stage("measure"):
        measured = measure_audio(dequantized(samples, file.audio.sample_rate_hz), source)
    return RenditionReport(
        name=name,
        path=str(path),
        format=rendition.format,
        sample_rate_hz=file.audio.sample_rate_hz,
        channels=file.audio.channels,
        frames=file.audio.frames,
        sha256=sha256,
        bytes=size_bytes,
        after=CleanedMeasurement(
            programme=measured.programme,
            channels=tuple(
                CleanedChannel(
                    **{**dict(channel), "role": None if origin is None else source.role(origin)},
                    denoise=_denoise_outcome(context.denoise, origin),
                )
                for channel, origin in zip(measured.channels, file.origins, strict=True)
            ),
        ),
    )


def _denoise_outcome(outcomes: list[DenoiseOutcome], origin: int | None) -> DenoiseOutcome:
    if not outcomes:
        return DenoiseOutcome(method="none", applied=False, reason="the rendition has no denoise stage")
    if origin is not None:
        return outcomes[origin]
    # Of a mix: what was done to any of its parts.
    return next((outcome for outcome in outcomes if outcome.applied), outcomes[0])


def _other_version(chain: ResolvedChain) -> ReportWarning:
    message = (
        f"The chain was resolved for output version {chain.output_version}; this program makes version "
        f"{OUTPUT_VERSION}, so the outputs differ from others of the same digest."
    )
    return ReportWarning(code="output_version", message=message)


class _Clock:
    """Adds up how long each stage took."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()
        self._stages_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages_s[name] = self._stages_s.get(name, 0.0) + time.perf_counter() - started

    def timing(self, duration_s: float) -> Timing:
        wall_s = time.perf_counter() - self._wall_s
        return Timing(
            wall_s=round(wall_s, 6),
            cpu_s=round(time.process_time() - self._cpu_s, 6),
            realtime_factor=round(duration_s / max(wall_s, 1e-9), 3),
            stages_s={name: round(seconds, 6) for name, seconds in self._stages_s.items()},
        )
