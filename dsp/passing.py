"""Filters for what a stage has nothing to do with: the samples pass, bit for bit and in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsp.audio import Samples
from dsp.frame_queue import FrameQueue
from dsp.streams import Filter


class Untouched:
    """Lets everything pass."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def push(self, block: Samples) -> Samples:
        """Give the block itself."""
        return block

    def finish(self) -> Samples:
        """Give nothing: no frame was held back."""
        return np.empty((0, self._channels), dtype=np.float32, order="F")


class SomeChannels:
    """Runs some of the channels through a filter, and keeps the others in step with what it holds back."""

    def __init__(self, through: Filter, chosen: Sequence[int], channels: int) -> None:
        self._through = through
        self._chosen = list(chosen)
        self._others = [index for index in range(channels) if index not in self._chosen]
        self._waiting = FrameQueue(len(self._others))

    def push(self, block: Samples) -> Samples:
        """Take the next frames of all channels; give those that the filter has done."""
        self._waiting.push(block[:, self._others])
        return self._together(self._through.push(np.asfortranarray(block[:, self._chosen])))

    def finish(self) -> Samples:
        """Give the frames that the filter held back, and the other channels' beside them."""
        return self._together(self._through.finish())

    def _together(self, done: Samples) -> Samples:
        shape = (len(done), len(self._chosen) + len(self._others))
        block: Samples = np.empty(shape, dtype=np.float32, order="F")
        block[:, self._chosen] = done
        block[:, self._others] = self._waiting.take(len(done))
        return block


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
    return wanted if len(chosen) == channels else SomeChannels(wanted, chosen, channels)
