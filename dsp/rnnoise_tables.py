"""What RNNoise's kernels need to know about a sample rate.

RNNoise works at 48 kHz in frames of 10 ms. At 8 and 16 kHz every table here is that of 48 kHz as it would be after
resampling: bins are 50 Hz apart in any case, the window is taken at every sixth or third point, and the response of the
resampler weighs the bins, those of its images too.
"""

from __future__ import annotations

import ctypes
import itertools
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

NATIVE_RATES_HZ = (8000, 16000, 48000)
FULL_RATE_HZ = 48000
BANDS = 32
CENTRES = np.array(
    [
        *(0, 2, 4, 6, 8, 10, 12, 15, 18, 21, 24, 28, 32, 36, 41, 47, 53, 60, 68, 77, 87, 98, 110, 124, 140),
        *(157, 176, 198, 223, 251, 282, 317, 356, 400),
    ]
)
"""Bins of 50 Hz where bands have their centres, with one more on either side (RNNoise 0.2, ``eband20ms``)."""
REACH = 10
"""Samples on either side that resampling to 48 kHz takes into account, and ..."""
KAISER = 5.0
"""... the shape of its window. It rolls off slowly, and leaves images just above the band: with a sharper one, RNNoise
takes the edge of a telephone's band for a kind of noise, and some calls for nothing but it."""
HIGH_PASS = (-1.99599, 0.99600)
"""Poles of RNNoise's high-pass at 48 kHz, as a polynomial."""


class Tables(ctypes.Structure):
    """``rn_tables`` of rnnoise.h; keeps the arrays that it points to."""

    _fields_ = (
        ("hop", ctypes.c_int32),
        ("bins", ctypes.c_int32),
        ("stages", ctypes.c_int32),
        ("radix", ctypes.c_int32 * 8),
        ("twiddle", ctypes.c_void_p),
        ("analysis", ctypes.c_void_p),
        ("synthesis", ctypes.c_void_p),
        ("edges", ctypes.c_int32 * (BANDS + 2)),
        ("near", ctypes.c_int32),
        ("fall", ctypes.c_void_p),
        ("rise", ctypes.c_void_p),
        ("blend", ctypes.c_void_p),
        ("undo", ctypes.c_void_p),
        ("pole", ctypes.c_double * 2),
        ("gain", ctypes.c_double),
        ("phases", ctypes.c_int32),
        ("stride", ctypes.c_int32),
        ("taps", ctypes.c_int32),
        ("base", ctypes.c_void_p),
        ("to_24k", ctypes.c_void_p),
        ("edge_base", ctypes.c_int32),
        ("edge_taps", ctypes.c_int32),
        ("edge", ctypes.c_void_p),
        ("steps", ctypes.c_int32),
        ("turns", ctypes.c_void_p),
        ("dct", ctypes.c_void_p),
    )
    arrays: list[NDArray[Any]]


def _window(steps: int) -> NDArray[np.float64]:
    """Every ``steps``-th point of RNNoise's window of 960 samples (the one of Vorbis)."""
    at = (np.arange(0, 960, steps) + 0.5) / 960
    return np.sin(0.5 * np.pi * np.sin(np.pi * at) ** 2)


def kernel(steps: int) -> NDArray[np.float64]:
    """Impulse response of resampling to 48 kHz, at 48 kHz: 20 samples of the input and one, odd, sum ``steps``."""
    at = np.arange(-REACH * steps, REACH * steps + 1) / steps
    response = _low_pass(at, 1.0, 2 * REACH, KAISER)
    scaled: NDArray[np.float64] = response * (steps / response.sum())
    return scaled


def _bands(steps: int) -> dict[str, NDArray[np.float64]]:
    """Weights of the bins at 48 kHz in the bands below and above them, and shares of the upper band's gain."""
    bins = CENTRES[-1]
    fall, rise, blend = np.zeros((3, bins))
    for low, high in itertools.pairwise(CENTRES):
        share = np.arange(high - low) / (high - low)
        fall[low:high], rise[low:high], blend[low:high] = 1 - share, share, share
    if steps > 1:
        taps = kernel(steps) / steps
        turn = np.exp(-2j * np.pi * np.outer(np.arange(bins), np.arange(len(taps))) / 960)
        response = np.abs(turn @ taps) ** 2
        fall *= response
        rise *= response
    return {"fall": fall, "rise": rise, "blend": blend}


def _high_pass(steps: int) -> tuple[NDArray[np.float64], float]:
    """Poles, as a polynomial, and gain of the high-pass at a lower rate: poles matched, the gain equal at 1 kHz."""
    full = np.array([1.0, *HIGH_PASS])
    poles: NDArray[np.float64] = np.poly(np.roots(full) ** steps).real.astype(np.float64)

    def response(polynomial: NDArray[np.float64], rate_hz: int) -> float:
        z = np.exp(-2j * np.pi * 1000 / rate_hz)
        return float(abs((1 - z) ** 2 / np.polyval(polynomial[::-1], z)))

    return poles[1:], response(full, FULL_RATE_HZ) / response(poles, FULL_RATE_HZ // steps)


def _undo(bins: int) -> NDArray[np.float64]:
    """One over the response of RNNoise's high-pass in each bin, real and imaginary part; nothing at 0 Hz.

    The high-pass turns the phase by 0.1 at 300 Hz, by which the original that is mixed in would not fit any more.
    """
    z = np.exp(-2j * np.pi * 50 * np.arange(1, bins) / FULL_RATE_HZ)
    inverse = np.polyval([HIGH_PASS[1], HIGH_PASS[0], 1.0], z) / (1 - z) ** 2
    return np.array([[0.0, 0.0], *zip(inverse.real, inverse.imag, strict=True)])


def _low_pass(at: NDArray[np.float64], cut_off: float, taps: int, kaiser: float) -> NDArray[np.float64]:
    """Kaiser's windowed sinc at times in samples."""
    inside = np.clip(1 - (2 * at / taps) ** 2, 0, None)
    return cut_off * np.sinc(cut_off * at) * np.i0(kaiser * np.sqrt(inside)) / np.i0(kaiser) * (inside > 0)


def _to_24k(steps: int) -> tuple[NDArray[np.int32], NDArray[np.float64], int]:
    """First sample, weights and stride of the interpolator to 24 kHz, with RNNoise's own 1/4, 1/2, 1/4 on the way."""
    if steps == 1:
        return np.array([-1], np.int32), np.array([[0.25, 0.25, 0.5]]), 2  # the even ones first
    stride = 6 // steps
    time = np.arange(3) * 2 / steps  # of the three phases, in samples
    base = np.floor(time).astype(np.int32) - REACH
    taps = 2 * REACH + 2
    full = np.pad(np.convolve(kernel(steps), [0.25, 0.5, 0.25]), 2 * steps)
    middle = len(full) // 2
    at = np.rint((time[:, None] - (base[:, None] + np.arange(taps))) * steps).astype(int)
    weights = full[middle + at]
    if stride > 1:  # even and odd samples lie apart
        weights = np.concatenate([weights[:, ::2], weights[:, 1::2]], axis=1)
    return base, weights, stride


def _edge(steps: int) -> tuple[int, NDArray[np.float64]]:
    """First sample and weights of a quarter of the signal at 48 kHz, one sample there before a sample of the input."""
    if steps == 1:
        return -1, np.array([0.25])
    base = -REACH - 1
    at = -1 - steps * (base + np.arange(2 * REACH + 2))
    full = np.pad(kernel(steps), 2 * steps)
    return base, 0.25 * full[len(full) // 2 + at]


def _turns(steps: int) -> NDArray[np.float64]:
    """What moving a signal forward by 0 to ``steps - 1`` samples at 48 kHz does to its bins: cosine and sine."""
    turn = 2 * np.pi * np.outer(np.arange(steps), np.arange(CENTRES[-1])) / 960
    return np.stack([np.cos(turn), np.sin(turn)], axis=2)


def _cosines() -> NDArray[np.float64]:
    """RNNoise's cosine transform of 32 bands; its factor is that of the 22 bands of an earlier version."""
    order, band = np.ogrid[:BANDS, :BANDS]
    table: NDArray[np.float64] = np.sqrt(2 / 22) * np.cos((band + 0.5) * order * np.pi / BANDS)
    table[0] *= np.sqrt(0.5)
    return table


@cache
def tables(sample_rate_hz: int) -> Tables:
    """Make the tables of one of the native rates: 8000, 16000 or 48000 Hz."""
    steps = FULL_RATE_HZ // sample_rate_hz
    length = 960 // steps
    bins = length // 2 + 1
    base, to_24k, stride = _to_24k(steps)
    poles, gain = _high_pass(steps)
    turn = 2 * np.pi * np.arange(length) / length
    radix = {160: (5, 4, 4, 2), 320: (5, 4, 4, 4), 960: (3, 5, 4, 4, 4)}[length]
    edge_base, edge = _edge(steps)
    arrays: dict[str, NDArray[Any]] = {
        "edge": edge,
        **_bands(steps),
        "undo": _undo(bins),
        "twiddle": np.stack([np.cos(turn), -np.sin(turn)], axis=1),
        "analysis": _window(steps) / length,
        "synthesis": _window(steps) / 32768,
        "to_24k": to_24k,
        "turns": _turns(steps),
        "dct": _cosines(),
    }
    made = Tables(hop=length // 2, bins=bins, stages=len(radix), gain=gain, stride=stride, steps=steps)
    made.edge_base, made.edge_taps = edge_base, len(edge)
    made.phases, made.taps = to_24k.shape
    made.radix[: len(radix)] = radix
    made.pole[:] = poles.tolist()
    made.edges[:] = CENTRES.tolist()
    made.near = bins * 5 // 4 if steps > 1 else bins
    made.arrays = [base]
    made.base = base.ctypes.data
    for name, array in arrays.items():
        single = np.ascontiguousarray(array, dtype=np.float32)
        made.arrays.append(single)
        setattr(made, name, single.ctypes.data)
    return made
