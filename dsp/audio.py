"""What goes in: samples in memory, and a recording on disk as its sender describes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Samples: TypeAlias = NDArray[np.float32]
"""float32, full scale +-1.0; shape (frames, channels), or (frames,) where one channel is meant."""

BLOCK_FRAMES: Final = 1 << 15
"""Frames that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class AudioBuffer:
    """Audio in memory; see ``dsp.stages.base.Audio``."""

    samples: NDArray[np.float32]
    """Shape (frames, channels); full scale is +-1.0."""
    sample_rate_hz: int
    """Frames a second."""

    @property
    def frames(self) -> int:
        """Samples of each channel."""
        return int(self.samples.shape[0])

    @property
    def channels(self) -> int:
        """Channels side by side."""
        return int(self.samples.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz

    def blocks(self, frames: int = BLOCK_FRAMES) -> Iterator[Samples]:
        """Give the samples from the first frame on, so many at a time; shape (frames, channels), Fortran order."""
        for start in range(0, self.frames, frames):
            yield self.read(range(self.channels), start, min(frames, self.frames - start))

    def read(self, channels: Sequence[int], start: int, frames: int) -> Samples:
        """Give some frames of some channels; shape (frames, channels), Fortran order."""
        return np.asfortranarray(self.samples[start : start + frames, list(channels)])


@dataclass(frozen=True)
class Encoding:
    """How to read a file that has no header."""

    format: Literal["slin", "ulaw", "alaw", "gsm", "g722"]
    """``slin`` (signed 16 bit little endian), ``ulaw``, ``alaw``, ``gsm`` (06.10) or ``g722`` (64 kbit/s, mono)."""
    sample_rate_hz: int = 8000
    """Frames a second; of ``g722`` it is not read: that has 16,000, and telephony has long called it 8,000."""
    channels: int = 1
    """Channels, interleaved."""


@dataclass(frozen=True)
class ChannelInfo:
    """Who is heard in a channel."""

    role: str | None = None
    """As in ``agent`` or ``customer``."""
    name: str | None = None
    """The person, where known."""


@dataclass(frozen=True)
class Pause:
    """A stretch that does not count: the recording was paused, the caller held."""

    start_s: float
    """Seconds from the first frame."""
    end_s: float
    """Seconds from the first frame; may lie behind the recording's end."""
    reason: str | None = None
    """As in ``payment``."""


@dataclass(frozen=True)
class Source:
    """A recording on disk, as its sender describes it."""

    path: Path
    """Where it lies. The container is told by the content; the suffix is not looked at."""
    encoding: Encoding | None = None
    """Only for files without a header."""
    channels: tuple[ChannelInfo, ...] = ()
    """By place in the file; empty where nothing is known."""
    pauses: tuple[Pause, ...] = ()
    """Left out of every statistic; muted where the chain says so."""

    def role(self, channel: int) -> str | None:
        """Role of a channel, as far as it is known."""
        return self.channels[channel].role if channel < len(self.channels) else None


@dataclass(frozen=True)
class Limits:
    """What a recording may ask for; checked before memory is taken."""

    max_duration_s: float = 43_200.0
    """Longest recording: 12 h."""
    max_samples: int = 4_200_000_000
    """Most frames times channels: 12 h of 48 kHz stereo. On the scratch disk a sample takes up to 8 bytes."""
    max_channels: int = 8
    """Most channels."""
    min_sample_rate_hz: int = 8_000
    """Lowest sample rate."""
    max_sample_rate_hz: int = 48_000
    """Highest sample rate."""


def paused(
    frames: int, sample_rate_hz: int, pauses: tuple[Pause, ...], *, start: int = 0
) -> NDArray[np.bool_]:
    """Tell which of some frames, from ``start`` on, lie in a pause; shape (frames,)."""
    inside = np.zeros(frames, dtype=np.bool_)
    for pause in pauses:
        first, last = (
            min(max(seconds * sample_rate_hz - start, 0.0), float(frames))
            for seconds in (pause.start_s, pause.end_s)
        )
        inside[int(first) : int(np.ceil(last))] = True
    return inside


def counted_runs(
    frames: int, sample_rate_hz: int, pauses: tuple[Pause, ...], *, start: int = 0
) -> Iterator[tuple[int, int]]:
    """Give the runs that lie in no pause among some frames from ``start`` on, as places relative to ``start``."""
    if not pauses:
        yield 0, frames
        return
    counted = ~paused(frames, sample_rate_hz, pauses, start=start)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], counted, [False])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
