"""Loudness after ITU-R BS.1770-5 and EBU Tech 3342."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy.signal import sosfilt

from dsp.audio import Samples

_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_RANGE_GATE_LU = -20.0
_OFFSET = -0.691  # BS.1770-5, annex 1, equation 2
_STEP_S = 0.1  # 400 ms blocks overlap by 75 %; 3 s windows move by as much
_BLOCK_STEPS, _SHORT_TERM_STEPS = 4, 30

# BS.1770-5, tables 1 and 2: the two stages of the K filter at 48 kHz.
_K_48_KHZ = np.array(
    [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
)
# Fitted to the magnitude of the above: the bilinear transform bends the shelf so near to half the rate.
_K_8_KHZ = np.array(
    [
        [1.31169792, -0.93205283, 0.29858126, 1.0, -0.47292406, 0.151094],
        [0.97557308, -1.95114616, 0.97557308, 1.0, -1.94101334, 0.9418843],
    ]
)


@dataclass(frozen=True)
class Loudness:
    """Loudness of a programme.

    Attributes:
        integrated_lufs: gated loudness in LUFS; None under 400 ms or below -70 LUFS, where it is undefined.
        range_lu: loudness range in LU; None under 3 s or below the gate.
    """

    integrated_lufs: float | None
    range_lu: float | None


def k_weighting(sample_rate_hz: int) -> NDArray[np.float64]:
    """Second-order sections of the K filter, shape (2, 6), for a sample rate in Hz."""
    if sample_rate_hz == 48_000:
        return _K_48_KHZ
    if sample_rate_hz == 8_000:
        return _K_8_KHZ
    return _designed(sample_rate_hz)


def channel_energies(samples: Samples, sample_rate_hz: int) -> NDArray[np.float64]:
    """Mean square of the K-weighted signal in steps of 100 ms, shape (steps, channels), whole steps only."""
    step_frames = round(_STEP_S * sample_rate_hz)
    steps = samples.shape[0] // step_frames
    weighted = sosfilt(k_weighting(sample_rate_hz), samples.astype(np.float64), axis=0)
    blocks = weighted[: steps * step_frames].reshape(steps, step_frames, samples.shape[1])
    return np.einsum("sfc,sfc->sc", blocks, blocks) / step_frames


def loudness(energies: NDArray[np.float64]) -> Loudness:
    """Loudness of a programme from the energies of its channels, shape (steps, channels), each with weight 1.0."""
    total = energies.sum(axis=1)
    return Loudness(_integrated(total), _range(total))


def integrated_lufs(samples: Samples, sample_rate_hz: int) -> float | None:
    """Integrated loudness of samples, shape (frames, channels), in LUFS; None where it is undefined."""
    return loudness(channel_energies(samples, sample_rate_hz)).integrated_lufs


def _integrated(total: NDArray[np.float64]) -> float | None:
    """BS.1770-5, annex 1, equations 3 to 7: 400 ms blocks, absolute gate, relative gate."""
    blocks = _moving_mean(total, _BLOCK_STEPS)
    above = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
    if above.size == 0:
        return None
    relative = above.mean() * 10 ** (_RELATIVE_GATE_LU / 10)
    return _level(float(above[above > relative].mean()))


def _range(total: NDArray[np.float64]) -> float | None:
    """EBU Tech 3342, section 4: 10th to 95th percentile of the short-term loudness above its gates."""
    blocks = _moving_mean(total, _SHORT_TERM_STEPS)
    above = blocks[blocks > _power(_ABSOLUTE_GATE_LUFS)]
    if above.size == 0:
        return None
    gated = above[above > above.mean() * 10 ** (_RANGE_GATE_LU / 10)]
    low, high = np.percentile(10 * np.log10(gated), [10, 95])
    return float(high - low)


def _moving_mean(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    if values.size < length:
        return np.empty(0)
    sums = np.cumsum(np.concatenate(([0.0], values)))
    return np.maximum(sums[length:] - sums[:-length], 0.0) / length


def _level(power: float) -> float:
    return _OFFSET + 10 * float(np.log10(power))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


@cache
def _designed(sample_rate_hz: int) -> NDArray[np.float64]:
    """The K filter at another rate, from the analogue prototype (B. De Man's derivation, in pyloudnorm)."""
    meter = pyloudnorm.Meter(sample_rate_hz, filter_class="DeMan")
    return np.array([np.concatenate((stage.b, stage.a)) for stage in meter._filters.values()])
