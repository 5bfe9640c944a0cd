"""Runs a stage over samples in memory, cut into blocks as a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from dsp.audio import Samples
from dsp.speech import decide
from dsp.stages import Context, Stage
from dsp.streams import Filter, filtered

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, eq=False)
class MemoryAudio:
    """A recording in memory that can be read again and again."""

    samples: Samples
    """Shape (frames, channels)."""
    sample_rate_hz: int = 8_000
    block_frames: int = 4_096

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def frames(self) -> int:
        return int(self.samples.shape[0])

    def blocks(self) -> Iterator[Samples]:
        return blocks(self.samples, self.block_frames)


def blocks(samples: Samples, block_frames: int) -> Iterator[Samples]:
    """Cut a recording, shape (frames, channels), into blocks that nobody may write to."""
    for start in range(0, len(samples), block_frames):
        block = np.asfortranarray(samples[start : start + block_frames])
        block.flags.writeable = False
        yield block


def context_of(samples: Samples, sample_rate_hz: int = 8_000) -> Context:
    """What a pipeline would tell a stage about samples, shape (frames, channels)."""
    decisions = tuple(decide(np.ascontiguousarray(channel), sample_rate_hz) for channel in samples.T)
    return Context(audio=MemoryAudio(samples, sample_rate_hz), decisions=decisions)


def passed(samples: Samples, filter_: Filter, block_frames: int = 4_096) -> Samples:
    """Send samples through a filter, and put what comes out together."""
    done = list(filtered(blocks(samples, block_frames), filter_))
    together: Samples = np.concatenate([samples[:0], *done])
    return together


def run(stage: Stage, samples: Samples, sample_rate_hz: int = 8_000, block_frames: int = 4_096) -> Samples:
    """Send samples, shape (frames, channels), through a stage."""
    return passed(samples, stage.open(context_of(samples, sample_rate_hz)), block_frames)


def example(name: str) -> Samples:
    """One of the example calls: two parties at 8 kHz, shape (frames, 2)."""
    samples: Samples = soundfile.read(EXAMPLES / f"{name}.wav", dtype="float32", always_2d=True)[0]
    return samples


def rms_db(samples: Samples) -> float:
    """Level in dB below full scale."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30))
