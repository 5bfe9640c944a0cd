"""True-peak limiting: no peak between or on the samples above a ceiling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dsp.audio import AudioBuffer, Samples
from dsp.stages.base import Context, Stage
from dsp.true_peak import inter_sample_peaks, peaks_at

# How fast the gain falls before a peak and recovers after it: 10 dB in 8 ms and in 33 ms.
_ATTACK_DB_S: Final = 1200.0
_RELEASE_DB_S: Final = 300.0
# A gain that moves shifts the peaks between samples a little: kept in hand, and limited again where it is not enough.
_MARGIN_DB: Final = 0.03
_TOLERANCE_DB: Final = 0.02
_MOST_PASSES: Final = 4


class LimitTruePeak(Stage):
    """Keep the true peak of each channel at or below a ceiling.

    Around each peak the gain, in dB, falls and recovers along straight lines, as early as it must: no delay, and
    samples that no peak is near pass bit for bit.
    """

    name: ClassVar[str] = "limit"

    ceiling_dbtp: Annotated[float, Field(ge=-20.0, le=0.0)] = -1.5
    """Ceiling of the true peak in dBTP (ITU-R BS.1770-5, annex 2), -20 to 0."""

    def process(self, audio: AudioBuffer, context: Context) -> AudioBuffer:
        """Limit each channel; linked channels by one gain curve."""
        samples = audio.samples.copy()
        for index, group in enumerate(context.groups(audio.channels)):
            reached = context.reached.get(index)
            if reached is None:
                reached = reach(samples[:, group], audio.sample_rate_hz, of_interest=self.threshold)
            samples[:, group] = _limited(samples[:, group], audio.sample_rate_hz, reached, self.threshold)
        return audio.with_samples(samples)

    @property
    def threshold(self) -> float:
        """The magnitude, linear, that the gain holds peaks at."""
        return float(10 ** ((self.ceiling_dbtp - _MARGIN_DB) / 20))


@dataclass(frozen=True)
class Reduction:
    """By how much a limiter turns single samples down; all others pass."""

    at: NDArray[np.intp]
    """The frames, ascending."""
    db: NDArray[np.float64]
    """What each of them gets, below 0."""


def reach(samples: Samples, sample_rate_hz: int, *, of_interest: float) -> Samples:
    """What a gain at each frame has to hold down: the greatest magnitude between its neighbours, over all channels.

    Parameters
    ----------
    samples
        Shape (frames, channels).
    of_interest
        Linear magnitude below which the value need not be exact.

    Returns
    -------
    Shape (frames,).
    """
    peaks = np.stack(
        [
            inter_sample_peaks(np.ascontiguousarray(c), sample_rate_hz, of_interest=of_interest)
            for c in samples.T
        ]
    ).max(axis=0)
    # A peak after a frame is held down by the gain at both of its ends.
    peaks[1:] = np.maximum(peaks[1:], peaks[:-1])
    found: Samples = peaks
    return found


def reduction(reached: Samples, sample_rate_hz: int, threshold: float) -> Reduction:
    """The greatest gain curve of allowed slopes that holds what is reached, shape (frames,), at a threshold."""
    over = np.flatnonzero(reached > threshold)
    wanted_db = 20 * np.log10(threshold / reached[over].astype(np.float64))
    fall_db, rise_db = _ATTACK_DB_S / sample_rate_hz, _RELEASE_DB_S / sample_rate_hz
    # The lower envelope of a V over each peak, at the peaks: a running minimum from either side, slope taken out.
    at_db = np.minimum.accumulate(wanted_db - rise_db * over) + rise_db * over
    at_db = np.minimum.accumulate((at_db + fall_db * over)[::-1])[::-1] - fall_db * over
    # Between two peaks the gain recovers from the one and falls to the other, and is never above 0 dB.
    gap = np.diff(over, append=reached.size)
    after = np.minimum(gap, np.ceil(-at_db / rise_db).astype(np.intp))
    before = np.minimum(np.diff(over, prepend=-1) - 1, np.ceil(-at_db / fall_db).astype(np.intp))
    curve_db = np.zeros(reached.size)
    step = _counted(after)
    curve_db[np.repeat(over, after) + step] = np.repeat(at_db, after) + rise_db * step
    step = _counted(before) + 1
    places = np.repeat(over, before) - step
    curve_db[places] = np.minimum(curve_db[places], np.repeat(at_db, before) + fall_db * step)
    at = np.flatnonzero(curve_db < 0)
    return Reduction(at, curve_db[at])


def _counted(lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Give 0, 1, 2 … for each length, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if ends.size else 0) - np.repeat(ends - lengths, lengths)


def _limited(samples: Samples, sample_rate_hz: int, reached: Samples, threshold: float) -> Samples:
    """Turn down what is over the threshold, and again what a moving gain has left over it."""
    limited = samples
    for _ in range(_MOST_PASSES):
        if reached.size == 0 or reached.max() <= threshold * 10 ** (_TOLERANCE_DB / 20):
            break
        found = reduction(reached, sample_rate_hz, threshold)
        limited = limited.copy()
        limited[found.at] *= (10 ** (found.db / 20)).astype(np.float32)[:, None]
        over = np.flatnonzero(reached > threshold)
        near = np.union1d(over, np.maximum(over - 1, 0))
        peaks = np.stack([peaks_at(np.ascontiguousarray(c), sample_rate_hz, near) for c in limited.T])
        reached = np.zeros_like(reached)
        reached[near] = peaks.max(axis=0)
        reached[1:] = np.maximum(reached[1:], reached[:-1])
    return limited
