"""The signals that EBU Tech 3341 and Tech 3342 describe, made of tones, at any sample rate."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples

RATES_HZ: Final = [8_000, 16_000, 44_100, 48_000]
SILENCE_DBFS: Final = -np.inf

Tones = list[tuple[float, float]]
"""Level in dBFS, that of the sine's peak, and seconds, one after the other."""


def tone(tones: Tones, sample_rate_hz: int, *, channels: int = 2) -> Samples:
    """A sine of 1 kHz through levels, in phase in all channels; shape (frames, channels)."""
    gain = np.concatenate(
        [np.full(round(seconds * sample_rate_hz), 10 ** (level / 20)) for level, seconds in tones]
    )
    wave = gain * np.sin(2 * np.pi * 1000 * np.arange(gain.size) / sample_rate_hz)
    return _side_by_side(wave, channels)


def sine(frames_a_period: int, phase_deg: float, amplitude: float) -> Samples:
    """A stereo sine whose period is a whole number of frames, faded in and out; shape (frames, 2)."""
    frames = 4_800
    phase = 2 * np.pi * np.arange(frames) / frames_a_period + np.deg2rad(phase_deg)
    return _side_by_side(amplitude * np.sin(phase) * _faded(frames), 2)


def burst(offset: int) -> Samples:
    """A stereo sine at a sixth of the rate with one period at a fourth of it, twice as high; shape (frames, 2).

    Made at four times the rate, where the sines follow each other in phase, low-passed at half the rate, and every
    fourth sample taken from ``offset`` on.
    """
    frames, slow, fast = 19_200, 24, 16  # at four times the rate
    begin = frames // 2 // slow * slow
    place = np.arange(frames)
    wave = 0.5 * np.sin(2 * np.pi * place / slow)
    wave[begin : begin + fast] = np.sin(2 * np.pi * place[:fast] / fast)
    wave[begin + fast :] = 0.5 * np.sin(2 * np.pi * place[: frames - begin - fast] / slow)
    spectrum = np.fft.rfft(wave * _faded(frames))
    spectrum[frames // 8 :] = 0.0
    return _side_by_side(np.fft.irfft(spectrum, frames)[offset::4], 2)


def _faded(frames: int) -> NDArray[np.float64]:
    fade = np.minimum(np.arange(frames), np.arange(frames)[::-1]) / (frames / 20)
    return np.minimum(fade, 1.0)


def _side_by_side(wave: NDArray[np.float64], channels: int) -> Samples:
    samples: Samples = np.repeat(wave[:, None], channels, axis=1).astype(np.float32)
    return samples
