"""A filter at another sample rate than the stream's."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dsp.audio import Samples
from dsp.rnnoise_tables import FULL_RATE_HZ, REACH, kernel
from dsp.streams import Filter


class Resampler(Protocol):
    """What soxr's streams are."""

    def resample_chunk(self, x: Samples, last: bool = False) -> Samples:
        """Take frames; give those that are done, all of them if these are the last."""


class Interpolator:
    """To 48 kHz from 16 or 8 kHz, with the response that RNNoise's own tables assume."""

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        steps = FULL_RATE_HZ // sample_rate_hz
        taps = np.pad(kernel(steps), (0, steps - 1))  # zeros, for what lies outside
        phase, sample = np.ogrid[:steps, -REACH : REACH + 1]
        self._weights = taps[(REACH * steps + phase - steps * sample) % len(taps)].astype(np.float32)
        self._weights[1:, 0] = 0
        self._before: Samples = np.zeros((REACH, channels), np.float32)

    def resample_chunk(self, x: Samples, last: bool = False) -> Samples:
        """Take frames; give those that are done, all of them if these are the last."""
        ahead = np.zeros((REACH if last else 0, x.shape[1]), np.float32)
        audio = np.concatenate([self._before, x, ahead])
        self._before = audio[-2 * REACH :]
        if len(audio) <= 2 * REACH:
            return audio[:0]
        done: Samples = sliding_window_view(audio, 2 * REACH + 1, axis=0) @ self._weights.T
        return done.transpose(0, 2, 1).reshape(-1, x.shape[1])


class Decimator:
    """The way back from 48 kHz to 16 or 8 kHz, with the same response."""

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        self._steps = FULL_RATE_HZ // sample_rate_hz
        self._taps = (kernel(self._steps) / self._steps).astype(np.float32)
        self._before: Samples = np.zeros((REACH * self._steps, channels), np.float32)

    def resample_chunk(self, x: Samples, last: bool = False) -> Samples:
        """Take frames; give those that are done, all of them if these are the last."""
        ahead = np.zeros((REACH * self._steps if last else 0, x.shape[1]), np.float32)
        audio = np.concatenate([self._before, x, ahead])
        done = max(0, -(-(len(audio) - len(self._taps) + 1) // self._steps))
        self._before = audio[done * self._steps :]
        if not done:
            return audio[:0]
        filtered: Samples = sliding_window_view(audio, len(self._taps), axis=0)[:: self._steps] @ self._taps
        return filtered


class AtAnotherRate:
    """Resamples a stream, filters it there, resamples it back, and mixes a share of the original in: no delay.

    The resamplers are without delay over the whole, and what they hold back is given at the end. They are fed pieces of
    one length whatever comes, so that the result does not depend on how the stream is cut.

    Parameters
    ----------
    inner
        Filter at the other rate.
    there, back
        Resamplers to that rate and back.
    piece
        Frames that are resampled at once.
    channels
        Of the stream.
    mix
        Share of the original, 0 to 1.
    """

    def __init__(
        self, inner: Filter, there: Resampler, back: Resampler, *, piece: int, channels: int, mix: float
    ) -> None:
        self._inner = inner
        self._there = there
        self._back = back
        self._piece = piece
        self._mix = np.float32(mix)
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
        """Give what was held back; the last frame may fall a fraction short of the input's end, and is then zero."""
        inside = self._there.resample_chunk(np.ascontiguousarray(self._waiting), last=True)
        filtered = np.concatenate([self._inner.push(inside), self._inner.finish()])
        rest = self._back.resample_chunk(np.ascontiguousarray(filtered), last=True)
        missing = max(0, len(self._original) - len(rest))
        return self._mixed(np.pad(rest, ((0, missing), (0, 0))))

    def _mixed(self, filtered: Samples) -> Samples:
        filtered = filtered[: len(self._original)]
        original, self._original = self._original[: len(filtered)], self._original[len(filtered) :]
        mixed: Samples = (np.float32(1) - self._mix) * filtered + self._mix * original
        return mixed


def at_rate(inner: Filter, sample_rate_hz: int, inner_hz: int, channels: int, mix: float) -> AtAnotherRate:
    """Run a filter at ``inner_hz`` on a stream of any other rate, by soxr."""
    import soxr  # noqa: PLC0415  (only for rates that are not native)

    there = soxr.ResampleStream(sample_rate_hz, inner_hz, channels, dtype="float32", quality="HQ")
    back = soxr.ResampleStream(inner_hz, sample_rate_hz, channels, dtype="float32", quality="HQ")
    return AtAnotherRate(inner, there, back, piece=sample_rate_hz // 10, channels=channels, mix=mix)
