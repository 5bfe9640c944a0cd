"""Frames that wait: what a filter holds back between two blocks."""

from __future__ import annotations

from typing import Final

import numpy as np

from dsp.audio import Samples

_FEWEST: Final = 4_096


class FrameQueue:
    """First in, first out, each channel in one piece of memory, however small the blocks are that come in."""

    def __init__(self, channels: int) -> None:
        self._channels: Final = channels
        self._room = np.empty((channels, _FEWEST), dtype=np.float32)
        self._first = 0
        self._end = 0

    def __len__(self) -> int:
        """Frames that wait."""
        return self._end - self._first

    def push(self, block: Samples) -> None:
        """Add frames, shape (frames, channels); they are copied."""
        count = len(block)
        if self._end + count > self._room.shape[1]:
            self._make_room(count)
        self._room[:, self._end : self._end + count] = block.T
        self._end += count

    def first(self, frames: int) -> Samples:
        """Look at the frames that waited longest, shape (frames, channels): a view, good until the next call."""
        return self._room[:, self._first : min(self._first + frames, self._end)].T

    def drop(self, frames: int) -> None:
        """Let the frames go that waited longest."""
        self._first = min(self._first + frames, self._end)

    def take(self, frames: int) -> Samples:
        """Give the frames that waited longest, shape (frames, channels); fewer where fewer wait."""
        taken = self.first(frames).copy(order="K")
        self.drop(frames)
        return taken

    def _make_room(self, count: int) -> None:
        waiting = self._room[:, self._first : self._end]
        needed = waiting.shape[1] + count
        # Half empty at least afterwards, so that moving costs a copy or two of each frame and no more.
        room = np.empty((self._channels, max(2 * needed, _FEWEST)), dtype=np.float32)
        room[:, : waiting.shape[1]] = waiting
        self._first, self._end, self._room = 0, waiting.shape[1], room
