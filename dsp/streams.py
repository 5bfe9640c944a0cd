"""Filters over a stream: blocks of any length go in, the same number of frames comes out, in time, later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from dsp.audio import Samples


class Filter(Protocol):
    """Processes audio block by block.

    Over a whole stream as many frames come out as go in, and no delay: frame ``n`` out belongs to frame ``n`` in. What
    a filter needs to see ahead, it holds back, and gives it in ``finish``. How the stream is cut into blocks changes
    not one bit of the result.
    """

    def push(self, block: Samples) -> Samples:
        """Take the next frames, shape (frames, channels); give those that are done, possibly none.

        ``block`` is not changed. What comes out is not changed or used again later by the filter.
        """

    def finish(self) -> Samples:
        """Give the frames that were held back, shape (frames, channels). Nothing is pushed after this."""


def filtered(blocks: Iterable[Samples], through: Filter) -> Iterator[Samples]:
    """Run blocks through a filter, and what it held back after them; no empty block comes out."""
    for block in blocks:
        done = through.push(block)
        if len(done):
            yield done
    rest = through.finish()
    if len(rest):
        yield rest


class Unchanged:
    """Lets everything pass as it is."""

    def push(self, block: Samples) -> Samples:
        """See ``Filter``."""
        return block

    def finish(self) -> Samples:
        """See ``Filter``."""
        return np.zeros((0, 0), dtype=np.float32)


class Abreast:
    """Sends groups of channels through filters of their own, and keeps them in step.

    Parameters
    ----------
    parts
        Channels and their filter; every channel is in one part.
    """

    def __init__(self, parts: Sequence[tuple[Sequence[int], Filter]]) -> None:
        self._parts = [(list(channels), through) for channels, through in parts]
        self._done: list[list[Samples]] = [[] for _ in parts]
        self._channels = sum(len(channels) for channels, _ in parts)

    def push(self, block: Samples) -> Samples:
        """See ``Filter``."""
        if len(self._parts) == 1:
            return self._parts[0][1].push(block)
        for (channels, through), done in zip(self._parts, self._done, strict=True):
            done.append(through.push(_columns(block, channels)))
        return self._in_step(min(sum(map(len, done)) for done in self._done))

    def finish(self) -> Samples:
        """See ``Filter``."""
        if len(self._parts) == 1:
            return self._parts[0][1].finish()
        for (_, through), done in zip(self._parts, self._done, strict=True):
            rest = through.finish()
            done.extend([rest] if len(rest) else [])
        return self._in_step(max(sum(map(len, done)) for done in self._done))

    def _in_step(self, frames: int) -> Samples:
        ready = np.empty((frames, self._channels), dtype=np.float32, order="F")
        for place, (channels, _) in enumerate(self._parts):
            done, at = self._done[place], 0
            while at < frames:
                first = done.pop(0)
                taken = min(len(first), frames - at)
                ready[at : at + taken, channels] = first[:taken]
                at += taken
                if taken < len(first):
                    done.insert(0, first[taken:])
        return ready


def _columns(block: Samples, channels: list[int]) -> Samples:
    """Some channels of a block; a view where they lie side by side."""
    first, last = channels[0], channels[-1]
    if channels == list(range(first, last + 1)):
        return block[:, first : last + 1]
    return np.asfortranarray(block[:, channels])
