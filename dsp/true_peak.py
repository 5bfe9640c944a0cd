"""True peak after ITU-R BS.1770-5, annex 2: the peak of the signal between its samples."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples

# Flat within 0.005 dB up to 0.9 of half the sample rate: 3.6 kHz of telephony's 4.
_HALF_TAPS = 20
_KAISER_BETA = 6.0
# What is worked on at once stays within the processor's cache.
_BLOCK_FRAMES = 1 << 12
_GATHERED_FRAMES = 1 << 13


_NARROW_HZ, _WIDE_HZ = 16_000, 44_100


def oversampling(sample_rate_hz: int) -> int:
    """How often to look between two samples.

    Annex 2 asks for 4 x at 48 kHz. Speech at 8 kHz reaches much nearer to half the rate: 4 x would read 3.4 kHz up
    to 0.5 dB low, 16 x 0.03 dB.
    """
    if sample_rate_hz <= _NARROW_HZ:
        return 16
    return 8 if sample_rate_hz < _WIDE_HZ else 4


def inter_sample_peaks(channel: Samples, sample_rate_hz: int, *, of_interest: float = 0.0) -> Samples:
    """Greatest magnitude from each sample up to the next.

    Parameters
    ----------
    channel
        Shape (frames,), full scale +-1.0.
    sample_rate_hz
        Decides how often to look between samples.
    of_interest
        Linear magnitude. Where no value between the samples can reach it, the sample's own magnitude is given:
        nothing is interpolated there, which is most of a recording.

    Returns
    -------
    Shape (frames,).
    """
    peaks = np.abs(channel)
    taps = _interpolators(oversampling(sample_rate_hz))
    # |sum of tap x sample| <= sum of |tap| x |sample|, with each place's greatest |tap| over all fractions.
    greatest = np.abs(taps).max(axis=1)[::-1]
    total = float(greatest.sum())
    padded = _padded(channel)
    for start in range(0, channel.size, _BLOCK_FRAMES):
        around = np.abs(padded[start : start + _BLOCK_FRAMES + 2 * _HALF_TAPS - 1])
        if float(around.max()) * total <= of_interest:
            continue
        candidates = start + np.flatnonzero(np.convolve(around, greatest, "valid") > of_interest)
        peaks[candidates] = np.maximum(peaks[candidates], _between(padded, taps, candidates))
    return peaks


def peaks_at(channel: Samples, sample_rate_hz: int, frames: NDArray[np.intp]) -> Samples:
    """Greatest magnitude from some samples up to the next ones; shape of ``frames``."""
    taps = _interpolators(oversampling(sample_rate_hz))
    return np.maximum(np.abs(channel[frames]), _between(_padded(channel), taps, frames))


def _padded(channel: Samples) -> Samples:
    return np.pad(channel, (_HALF_TAPS - 1, _HALF_TAPS))


def _between(padded: Samples, taps: NDArray[np.float32], frames: NDArray[np.intp]) -> Samples:
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HALF_TAPS)
    peaks = np.empty(frames.size, dtype=np.float32)
    for start in range(0, frames.size, _GATHERED_FRAMES):
        chosen = slice(start, start + _GATHERED_FRAMES)
        peaks[chosen] = np.abs(taps.T @ windows[frames[chosen]].T).max(axis=0)
    return peaks


@cache
def _interpolators(factor: int) -> NDArray[np.float32]:
    """Windowed-sinc taps for each place between two samples, shape (2 * _HALF_TAPS, factor - 1)."""
    offsets = np.arange(-_HALF_TAPS + 1, _HALF_TAPS + 1)[:, None]
    fractions = np.arange(1, factor)[None, :] / factor
    distance = fractions - offsets
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (distance / _HALF_TAPS) ** 2)))
    taps = np.sinc(distance) * window / np.i0(_KAISER_BETA)
    normalized: NDArray[np.float32] = (taps / taps.sum(axis=0)).astype(np.float32)
    return normalized
