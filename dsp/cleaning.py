"""Cleans one recording: decode, measure, run each rendition's stages, encode, measure again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

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
    Timing,
)
from dsp.stages import Context


def clean(source: Source, chain: ResolvedChain, out_dir: Path, *, limits: Limits = Limits()) -> CleanReport:
    """Clean a recording into files in ``out_dir``: ``<rendition>.<ext>``, or ``<rendition>-<channel>.<ext>``.

    Args:
        source: the recording; it is only read.
        chain: what to do.
        out_dir: an existing folder; files of the same names are overwritten.
        limits: what the recording may ask for.

    Raises:
        RecordingError: the recording cannot be cleaned.
    """
    clock = _Clock()
    with clock.stage("decode"):
        decoded = decode(source, limits=limits)
    with clock.stage("measure"):
        before = measure_audio(decoded.audio, source)
    audio = _muted(decoded.audio, chain)
    renditions: list[RenditionReport] = []
    warnings = [*decoded.warnings, *undefined_warnings(before.channels, "the recording")]
    for rendition in chain.renditions:
        context = Context(channels=chain.channels, pauses=source.pauses)
        renditions += _render(audio, source, rendition, context, out_dir, clock)
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


def measure(source: Source, *, limits: Limits = Limits()) -> MeasureReport:
    """Measure a recording and change nothing.

    Raises:
        RecordingError: the recording cannot be read.
    """
    decoded = decode(source, limits=limits)
    before = measure_audio(decoded.audio, source)
    return MeasureReport(
        input=decoded.info,
        before=before,
        warnings=(*decoded.warnings, *undefined_warnings(before.channels, "the recording")),
    )


def warm_up() -> None:
    """Import and run what a call needs once, so that the first call does not wait for it."""
    from dsp.stages import Denoise, LimitTruePeak, NormalizeLoudness

    noise = np.random.default_rng(0).normal(0, 0.1, (8_000, 1)).astype(np.float32)
    audio = AudioBuffer(noise, 8_000)
    for stage in (Denoise(method="spectral_gate"), NormalizeLoudness(), LimitTruePeak()):
        stage.process(audio, Context(channels="linked"))
    measure_audio(audio, Source(path=Path()))


def _render(
    audio: AudioBuffer,
    source: Source,
    rendition: ResolvedRendition,
    context: Context,
    out_dir: Path,
    clock: _Clock,
) -> Iterator[RenditionReport]:
    for index, stage in enumerate(rendition.stages):
        context.following = rendition.stages[index + 1 :]
        with clock.stage(stage.name):
            audio = stage.process(audio, context)
    for suffix, part, channels in _laid_out(audio, rendition.layout):
        path = out_dir / f"{rendition.name}{suffix}.{rendition.format}"
        samples = quantized(part)
        with clock.stage("encode"):
            sha256, size_bytes = encode(samples, part.sample_rate_hz, path, file_format=rendition.format)
        with clock.stage("measure"):
            after = _measured_output(
                dequantized(samples, part.sample_rate_hz), source, channels, context.denoise
            )
        yield RenditionReport(
            name=f"{rendition.name}{suffix}",
            path=str(path),
            format=rendition.format,
            sample_rate_hz=part.sample_rate_hz,
            channels=part.channels,
            frames=part.frames,
            sha256=sha256,
            bytes=size_bytes,
            after=after,
        )


def _laid_out(audio: AudioBuffer, layout: str) -> Iterator[tuple[str, AudioBuffer, tuple[int | None, ...]]]:
    """Give each file's suffix and audio, and which channel of the source each of its channels is (None: a mix)."""
    if layout == "split":
        for index in range(audio.channels):
            yield f"-{index}", AudioBuffer(audio.samples[:, [index]], audio.sample_rate_hz), (index,)
    elif layout == "mono" and audio.channels > 1:
        # The mean: two parties seldom speak at once, and a sum could pass the ceiling.
        mixed = audio.samples.mean(axis=1, keepdims=True, dtype=np.float32)
        yield "", AudioBuffer(mixed, audio.sample_rate_hz), (None,)
    else:
        yield "", audio, tuple(range(audio.channels))


def _measured_output(
    audio: AudioBuffer, source: Source, channels: tuple[int | None, ...], denoise: list[DenoiseOutcome]
) -> CleanedMeasurement:
    measured = measure_audio(audio, source)
    return CleanedMeasurement(
        programme=measured.programme,
        channels=tuple(
            CleanedChannel(
                **{
                    **dict(channel),
                    "index": position,
                    "role": None if origin is None else source.role(origin),
                },
                denoise=None if origin is None or not denoise else denoise[origin],
            )
            for position, (channel, origin) in enumerate(zip(measured.channels, channels, strict=True))
        ),
    )


def _muted(audio: AudioBuffer, chain: ResolvedChain) -> AudioBuffer:
    if not chain.mute_s:
        return audio
    return audio.silenced(tuple(Pause(start_s=start_s, end_s=end_s) for start_s, end_s in chain.mute_s))


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
