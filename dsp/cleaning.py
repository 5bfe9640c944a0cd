"""Cleans one recording: decode and measure, prepare what the renditions share, then level, encode and measure each."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np

from dsp.audio import Limits, Pause, Samples, Source, paused
from dsp.chain import OUTPUT_VERSION, ResolvedChain
from dsp.clock import Clock, Moved
from dsp.decode import Recording, opened
from dsp.limiter import Limiter
from dsp.loudness import EnergyMeter
from dsp.measurement import Measured, Meter, undefined_warnings
from dsp.preparing import Preparation, Prepared
from dsp.rendering import Rendering
from dsp.report import ChainRef, CleanReport, Engine, MeasureReport, RenditionReport, ReportWarning
from dsp.room import check_room
from dsp.scratch import ScratchAudio
from dsp.speech import speech_levels

_DEFAULT_LIMITS: Final = Limits()
_DECODING: Final = 0.2  # of the work, about


def clean(
    source: Source,
    chain: ResolvedChain,
    out_dir: Path,
    *,
    limits: Limits = _DEFAULT_LIMITS,
    moved: Moved | None = None,
) -> CleanReport:
    """Clean a recording into files in ``out_dir``: ``<rendition>.<ext>``, or ``<rendition>-<channel>.<ext>``.

    Works block by block, in memory that hardly grows with the recording, and with room for some 6 bytes a sample in
    ``out_dir`` meanwhile.

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
    moved
        Told how far the work is, from 0 to 1, now and then.

    Raises
    ------
    RecordingError
        The recording cannot be cleaned.
    OSError
        The recording cannot be read, an output not written, or the disk does not hold what lies there meanwhile.
    """
    clock = Clock(moved)
    linked = chain.channels == "linked"
    muted = tuple(Pause(start_s=start_s, end_s=end_s) for start_s, end_s in chain.mute_s)
    with ExitStack() as files:
        recording = files.enter_context(opened(source, limits=limits))
        _check_room(recording, chain, out_dir)
        clock.span(0.0, _DECODING)
        decoded, measured = _decoded(recording, source, muted, out_dir, files, clock)
        warnings = [
            *recording.warnings,
            *undefined_warnings(measured.measurement.channels, "the recording"),
            *_other_version(chain),
        ]
        preparation = Preparation(decoded, linked, out_dir, files, clock)
        reports: list[RenditionReport] = []
        for index, rendition in enumerate(chain.renditions):
            clock.span(*_span(index, len(chain.renditions)))
            rate_hz = rendition.sample_rate_hz or recording.sample_rate_hz
            sound = preparation.prepared(rendition.stages, rate_hz)
            told = list(sound.warnings)
            made = Rendering(rendition, source, linked, out_dir, clock).rendered(sound, told)
            warnings += [warning for warning in told if warning not in warnings]
            for report in made:
                after = undefined_warnings(report.after.channels, f"`{report.name}`")
                warnings += _unsaid(after, warnings)
            reports += made
    return CleanReport(
        input=recording.info,
        chain=ChainRef(name=chain.name, digest=chain.digest),
        before=measured.measurement,
        renditions=tuple(reports),
        warnings=tuple(warnings),
        engine=Engine(output_version=OUTPUT_VERSION, dsp=version("clearcall")),
        timing=clock.timing(recording.info.duration_s),
    )


def measure(source: Source, *, limits: Limits = _DEFAULT_LIMITS, moved: Moved | None = None) -> MeasureReport:
    """Measure a recording and change nothing; ``limits`` and ``moved`` as in ``clean``.

    Raises
    ------
    RecordingError
        The recording cannot be read.
    OSError
        The file cannot be opened.
    """
    clock = Clock(moved)
    with opened(source, limits=limits) as recording:
        meter, frames = Meter(recording.sample_rate_hz, recording.channels, source.pauses), 0
        for block in recording.blocks():
            meter.push(block)
            frames += len(block)
            clock.at(frames / max(recording.promised_frames or frames, 1))
    before = meter.finish(_roles(source, recording.channels)).measurement
    warnings = (*recording.warnings, *undefined_warnings(before.channels, "the recording"))
    return MeasureReport(input=recording.info, before=before, warnings=warnings)


def _check_room(recording: Recording, chain: ResolvedChain, folder: Path) -> None:
    """Refuse before any work what the disk cannot hold, as far as the recording says its length."""
    samples = (recording.promised_frames or 0) * recording.channels
    prepared = len({rendition.stages for rendition in chain.renditions})
    decoded_bytes = 2 if recording.exact_bits is not None else 4
    check_room(folder, samples * (decoded_bytes + 4 * prepared + 2 * len(chain.renditions)))


def _span(index: int, renditions: int) -> tuple[float, float]:
    """Which part of all the work one of the renditions is."""
    each = (1.0 - _DECODING) / renditions
    return _DECODING + each * index, _DECODING + each * (index + 1)


def warm_up() -> None:
    """Load and run what most calls need, so that the first one does not wait for it."""
    from dsp.rnnoise import RnNoise  # noqa: PLC0415  (a clean call needs no denoiser)

    noise = np.random.default_rng(0).normal(0, 0.1, (8_000, 1)).astype(np.float32)
    meter = Meter(8_000, 1)
    meter.push(noise)
    meter.finish()
    RnNoise(8_000, 1).push(noise)
    Limiter(8_000, [1.0], ceiling_dbtp=-1.5).push(noise)


def _decoded(
    recording: Recording,
    source: Source,
    muted: tuple[Pause, ...],
    folder: Path,
    files: ExitStack,
    clock: Clock,
) -> tuple[Prepared, Measured]:
    """Bring the recording to disk as samples, with the stretches that are muted, and measure it as it came."""
    rate_hz, channels = recording.sample_rate_hz, recording.channels
    audio = files.enter_context(
        ScratchAudio(folder, rate_hz, channels, exact_in_16_bits=recording.exact_bits is not None)
    )
    meter, energies = Meter(rate_hz, channels, source.pauses), EnergyMeter(rate_hz, channels, source.pauses)
    for block in clock.each("decode", recording.blocks()):
        with clock.stage("measure"):
            meter.push(block)
        kept = _muted(block, muted, rate_hz, audio.frames)
        if muted:
            energies.push(kept)
        with clock.stage("scratch"):
            audio.write(kept)
        clock.at(audio.frames / max(recording.promised_frames or audio.frames, 1))
    with clock.stage("measure"):
        measured = meter.finish(_roles(source, channels))
    prepared = Prepared(
        audio=audio,
        energies=energies.finish() if muted else measured.energies,
        decisions=measured.decisions,
        pauses=source.pauses,
        muted=muted,
        noisy=tuple(not speech_levels(decision).is_clean for decision in measured.decisions),
    )
    return prepared, measured


def _muted(block: Samples, muted: tuple[Pause, ...], sample_rate_hz: int, start: int) -> Samples:
    if not muted:
        return block
    inside = paused(len(block), sample_rate_hz, muted, start=start)
    return np.asfortranarray(np.where(inside[:, None], np.float32(0.0), block))


def _roles(source: Source, channels: int) -> list[str | None]:
    return [source.role(index) for index in range(channels)]


def _unsaid(told: Iterable[ReportWarning], known: list[ReportWarning]) -> list[ReportWarning]:
    """Leave out what is undefined in an output because it was so in the recording."""
    said = {(warning.code, warning.channel) for warning in known}
    return [warning for warning in told if (warning.code, warning.channel) not in said]


def _other_version(chain: ResolvedChain) -> list[ReportWarning]:
    if chain.output_version == OUTPUT_VERSION:
        return []
    message = (
        f"The chain was resolved for output version {chain.output_version}; this program makes version "
        f"{OUTPUT_VERSION}, so the outputs differ from others of the same digest."
    )
    return [ReportWarning(code="output_version", message=message)]
