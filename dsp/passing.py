"""Filters that let channels pass, and that keep channels in step which go different ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsp.audio import Samples
from dsp.frame_queue import FrameQueue
from dsp.streams import Filter


class Untouched:
    """Lets everything pass, bit for bit."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def push(self, block: Samples) -> Samples:
        """Give the block itself."""
        return block

    def finish(self) -> Samples:
        """Give nothing: no frame was held back."""
        return np.empty((0, self._channels), dtype=np.float32, order="F")


class Abreast:
    """Sends groups of channels through filters of their own, and keeps them in step.

    Parameters
    ----------
    parts
        Channels, ascending, and their filter; every channel is in one part.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[int], Filter]]) -> None:
        self._parts = [(list(channels), through, FrameQueue(len(channels))) for channels, through in parts]
        self._channels = sum(len(channels) for channels, _ in parts)

    def push(self, block: Samples) -> Samples:
        """Take the next frames of all channels; give those that every filter has done."""
        for channels, through, done in self._parts:
            done.push(through.push(_columns(block, channels)))
        return self._in_step()

    def finish(self) -> Samples:
        """Give the frames that the filters held back."""
        for _, through, done in self._parts:
            done.push(through.finish())
        return self._in_step()

    def _in_step(self) -> Samples:
        frames = min(len(done) for _, _, done in self._parts)
        block: Samples = np.empty((frames, self._channels), dtype=np.float32, order="F")
        for channels, _, done in self._parts:
            block[:, channels] = done.take(frames)
        return block


def abreast(parts: Sequence[tuple[Sequence[int], Filter]]) -> Filter:
    """Give one filter for parts that make up all channels: ``Abreast``, or the only part's own filter."""
    return parts[0][1] if len(parts) == 1 else Abreast(parts)


def through(wanted: Filter | None, chosen: Sequence[int], channels: int) -> Filter:
    """Give the filter that does only what is wanted: with none of the channels, some of them, or all.

    Parameters
    ----------
    wanted
        Takes the chosen channels side by side; None where none are chosen.
    chosen
        Their indexes, ascending.
    channels
        Channels of the recording.
    """
    if wanted is None:
        return Untouched(channels)
    others = [index for index in range(channels) if index not in chosen]
    return abreast([(chosen, wanted), (others, Untouched(len(others)))] if others else [(chosen, wanted)])


def _columns(block: Samples, channels: list[int]) -> Samples:
    """Some channels of a block: a view where they lie side by side."""
    first, last = channels[0], channels[-1]
    if last - first + 1 == len(channels):
        return block[:, first : last + 1]
    return np.asfortranarray(block[:, channels])
