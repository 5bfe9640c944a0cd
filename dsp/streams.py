"""Filters over a stream: blocks of any length go in, the same number of frames comes out, in time, later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

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
