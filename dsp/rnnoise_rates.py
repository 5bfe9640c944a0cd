"""A filter at another sample rate than the stream's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dsp.audio import Samples
from dsp.streams import Filter

if TYPE_CHECKING:
    import soxr


class AtAnotherRate:
    """Resamples a stream, filters it there, resamples it back, and mixes a share of the original in: no delay.

    soxr's streams have none over the whole, and what they hold back is given at the end. They are fed pieces of one
    length whatever comes, so that the result does not depend on how the stream is cut.

    Parameters
    ----------
    inner
        Filter at ``inner_hz``.
    mix
        Share of the original, 0 to 1.
    """

    def __init__(self, inner: Filter, sample_rate_hz: int, inner_hz: int, channels: int, mix: float) -> None:
        self._inner = inner
        self._mix = np.float32(mix)
        self._there = _resampler(sample_rate_hz, inner_hz, channels)
        self._back = _resampler(inner_hz, sample_rate_hz, channels)
        self._piece = sample_rate_hz // 10
        self._waiting: Samples = np.empty((0, channels), np.float32)
        self._original: Samples = np.empty((0, channels), np.float32)

    def push(self, block: Samples) -> Samples:
        """Take frames; give those that are done."""
        self._waiting = np.concatenate([self._waiting, block])
        self._original = np.concatenate([self._original, block])
        done = [self._waiting[:0]]
        while len(self._waiting) >= self._piece:
            piece, self._waiting = self._waiting[: self._piece], self._waiting[self._piece :]
            inside = self._there.resample_chunk(np.ascontiguousarray(piece))
            done.append(self._back.resample_chunk(np.ascontiguousarray(self._inner.push(inside))))
        return self._mixed(np.concatenate(done))

    def finish(self) -> Samples:
        """Give what was held back; the last sample may fall a fraction short of the input's end, and is then zero."""
        inside = self._there.resample_chunk(np.ascontiguousarray(self._waiting), last=True)
        filtered = np.concatenate([self._inner.push(inside), self._inner.finish()])
        rest = self._back.resample_chunk(np.ascontiguousarray(filtered), last=True)
        missing = max(0, len(self._original) - len(rest))
        return self._mixed(np.pad(rest, ((0, missing), (0, 0))))

    def _mixed(self, filtered: Samples) -> Samples:
        filtered = filtered[: len(self._original)]
        original, self._original = self._original[: len(filtered)], self._original[len(filtered) :]
        return (np.float32(1) - self._mix) * filtered + self._mix * original


def _resampler(from_hz: int, to_hz: int, channels: int) -> soxr.ResampleStream:
    import soxr  # noqa: PLC0415  (only for rates that are not native)

    return soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32", quality="HQ")
