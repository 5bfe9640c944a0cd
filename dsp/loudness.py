"""Loudness after ITU-R BS.1770-5 and EBU Tech 3342."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Pause, Samples, paused
from dsp.k_weighting import k_weighting

_ABSOLUTE_GATE_LUFS: Final = -70.0
_RELATIVE_GATE_LU: Final = -10.0
_RANGE_GATE_LU: Final = -20.0
_OFFSET: Final = -0.691  # BS.1770-5, annex 1, equation 2
_STEP_S: Final = 0.1  # 400 ms blocks overlap by 75 %
_FILTERED_STEPS: Final = 256  # filtered at once: 26 s, which stay within the processor's cache
_BLOCK_STEPS, _SHORT_TERM_STEPS, _RANGE_STEPS = 4, 30, 10


@dataclass(frozen=True)
class Loudness:
    """Loudness of a programme.

    Attributes
    ----------
        integrated_lufs: gated loudness in LUFS; None under 400 ms or below -70 LUFS, where it is undefined.
        range_lu: loudness range in LU; None under 3 s or below the gate.
    """

    integrated_lufs: float | None
    range_lu: float | None


@dataclass(frozen=True, eq=False)
class Weighted:
    """K-weighted audio, from which every loudness is read.

    Attributes
    ----------
        sample_rate_hz: frames a second.
        power: square of the weighted samples, all channels added with weight 1.0, shape (frames,).
        energies: mean square in steps of 100 ms, shape (steps, channels); whole steps only.
        counted: which steps lie outside the pauses, shape (steps,).
    """

    sample_rate_hz: int
    power: NDArray[np.float32]
    energies: NDArray[np.float64]
    counted: NDArray[np.bool_]

    def loudness(self, channel: int | None = None) -> Loudness:
        """Loudness of one channel as a mono programme, or of all together."""
        total = self.energies.sum(axis=1) if channel is None else self.energies[:, channel]
        return Loudness(self._integrated(total), self._range(total))

    def integrated_lufs(
        self,
        gain_db: float = 0.0,
        turned: NDArray[np.intp] | None = None,
        factors: NDArray[np.float64] | None = None,
    ) -> float | None:
        """Integrated loudness of all channels in LUFS; None where it is undefined.

        Parameters
        ----------
        gain_db
            A gain to think of. It does not just add to the loudness: quiet blocks pass the absolute gate with it.
        turned, factors
            Frames, ascending, whose power is to be taken times a factor.
        """
        total = self.energies.sum(axis=1)
        if turned is not None and factors is not None:
            frames = _step_frames(self.sample_rate_hz)
            inside = turned[: np.searchsorted(turned, total.size * frames)]
            lost = self.power[inside] * (1.0 - factors[: inside.size])
            total = np.maximum(total - np.bincount(inside // frames, lost, total.size) / frames, 0.0)
        return self._integrated(total * 10 ** (gain_db / 10))

    def _integrated(self, total: NDArray[np.float64]) -> float | None:
        """BS.1770-5, annex 1, equations 3 to 7: 400 ms blocks, absolute gate, relative gate."""
        blocks = self._blocks(total, _BLOCK_STEPS)
        above = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
        if above.size == 0:
            return None
        relative = above.mean() * 10 ** (_RELATIVE_GATE_LU / 10)
        return _level(float(above[above > relative].mean()))

    def _range(self, total: NDArray[np.float64]) -> float | None:
        """EBU Tech 3342, section 4: 10th to 95th percentile of the short-term loudness above its gates.

        The windows of 3 s move by 1 s and the percentiles are values that occur, as in libebur128: finer steps are
        allowed, and give up to 2 LU more on half a minute of speech.
        """
        blocks = self._blocks(total, _SHORT_TERM_STEPS, every=_RANGE_STEPS)
        above = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
        if above.size == 0:
            return None
        gated = above[above > above.mean() * 10 ** (_RANGE_GATE_LU / 10)]
        low, high = np.percentile(gated, [10, 95], method="nearest")
        return 10 * float(np.log10(high / low))

    def _blocks(self, total: NDArray[np.float64], steps: int, *, every: int = 1) -> NDArray[np.float64]:
        """Mean of each run of steps, from every so many on, of which none lies in a pause."""
        if total.size < steps:
            return np.empty(0)
        whole = _moving_sum(self.counted.astype(np.float64), steps) > steps - 0.5
        whole[np.arange(whole.size) % every != 0] = False
        means: NDArray[np.float64] = np.maximum(_moving_sum(total, steps), 0.0)[whole] / steps
        return means


def weighted(samples: Samples, sample_rate_hz: int, pauses: tuple[Pause, ...] = ()) -> Weighted:
    """K-weight audio, shape (frames, channels); pauses are filtered with the rest and left out of every block."""
    # Imported late: who only reads a chain, whose stages name this module, need not carry scipy.
    from scipy.signal import sosfilt  # noqa: PLC0415

    frames, channels = samples.shape
    step = _step_frames(sample_rate_hz)
    steps, block = frames // step, step * _FILTERED_STEPS
    power = np.zeros(frames, dtype=np.float32)
    energies = np.empty((steps, channels))
    for channel in range(channels):
        state = np.zeros((2, 2))
        for start in range(0, frames, block):
            part = samples[start : start + block, channel].astype(np.float64)
            filtered, state = sosfilt(k_weighting(sample_rate_hz), part, zi=state)
            np.square(filtered, out=filtered)
            power[start : start + block] += filtered
            whole = filtered.size // step
            energies[start // step :][:whole, channel] = (
                filtered[: whole * step].reshape(whole, step).mean(axis=1)
            )
    left_out = paused(frames, sample_rate_hz, pauses)[: steps * step].reshape(steps, step)
    counted: NDArray[np.bool_] = np.logical_not(left_out.any(axis=1))
    return Weighted(sample_rate_hz, power, energies, counted)


def _step_frames(sample_rate_hz: int) -> int:
    return round(_STEP_S * sample_rate_hz)


def _moving_sum(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    sums = np.cumsum(np.concatenate(([0.0], values)))
    moving: NDArray[np.float64] = sums[length:] - sums[:-length]
    return moving


def _level(power: float) -> float:
    return _OFFSET + 10 * float(np.log10(power))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))
