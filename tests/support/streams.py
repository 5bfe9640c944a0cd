"""Sends samples in memory through what works on streams, cut into blocks as a test wants."""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from dsp import AudioBuffer, Pause
from dsp.audio import Samples
from dsp.levels import LevelMeter
from dsp.loudness import Energies, EnergyMeter
from dsp.stages import Context, Stage
from dsp.streams import Filter, filtered
from dsp.true_peak import TruePeakMeter

BLOCKS: Final = [1, 7, 160, 4_096, 100_000]
"""Frames in a block: how a stream is cut must change nothing."""


class Meter(Protocol):
    """Whatever listens to a stream."""

    def push(self, block: Samples) -> None: ...


def heard(meter: Meter, samples: Samples, block_frames: int = 4_096) -> None:
    """Push samples, shape (frames, channels), into a meter."""
    for block in AudioBuffer(samples, 8_000).blocks(block_frames):
        meter.push(block)


def energies(samples: Samples, sample_rate_hz: int = 8_000, pauses: tuple[Pause, ...] = ()) -> Energies:
    """What the loudness of samples is read from."""
    meter = EnergyMeter(sample_rate_hz, samples.shape[1], pauses, loudest=True)
    heard(meter, samples)
    return meter.finish()


def true_peak_dbtp(samples: Samples, sample_rate_hz: int = 8_000) -> float:
    """Greatest true peak of all channels in dBTP; -inf for silence."""
    meter = TruePeakMeter(sample_rate_hz, samples.shape[1])
    heard(meter, samples)
    with np.errstate(divide="ignore"):
        return float(20 * np.log10(meter.finish().max(initial=0.0)))


def context_of(
    samples: Samples, sample_rate_hz: int = 8_000, *, linked: bool = False, pauses: tuple[Pause, ...] = ()
) -> Context:
    """What a pipeline would tell a stage about samples, shape (frames, channels)."""
    levels = LevelMeter(sample_rate_hz, samples.shape[1], pauses)
    heard(levels, samples)
    return Context(
        audio=AudioBuffer(samples, sample_rate_hz),
        decisions=tuple(channel.decision for channel in levels.finish()),
        energies=energies(samples, sample_rate_hz, pauses),
        linked=linked,
        pauses=pauses,
    )


def through(filter_: Filter, samples: Samples, block_frames: int = 4_096) -> Samples:
    """Send samples through a filter, and put what comes out together."""

    def unwritable(block: Samples) -> Samples:
        block.flags.writeable = False
        return block

    blocks = map(unwritable, AudioBuffer(samples, 8_000).blocks(block_frames))
    together: Samples = np.concatenate([samples[:0], *filtered(blocks, filter_)])
    return together


def run(
    stage: Stage,
    samples: Samples,
    sample_rate_hz: int = 8_000,
    *,
    linked: bool = False,
    pauses: tuple[Pause, ...] = (),
    block_frames: int = 4_096,
) -> Samples:
    """Send samples, shape (frames, channels), through a stage."""
    context = context_of(samples, sample_rate_hz, linked=linked, pauses=pauses)
    return through(stage.open(context), samples, block_frames)
