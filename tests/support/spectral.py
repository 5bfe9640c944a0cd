"""What the spectral denoisers must compute, a bin at a time in double precision, and sounds to hold them to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.streams import Filter

TINY = 1e-16
Row = NDArray[np.float64]


class Gains(Protocol):
    """The gains of a stream's frames, one after the other."""

    before: Row
    floor: ReferenceFloor

    def of(self, power: Row, silent: Sequence[bool]) -> Row:
        """Gains of the next frame, from its power in each bin and which of its quarters are digital silence."""


class ReferenceFloor:
    """The floor by the measured SNR, in dB, at hops of 16 ms."""

    def __init__(self, floor_db: float, enough_db: float) -> None:
        self._floor_db, self._enough_db = floor_db, enough_db
        self._speech, self._seen, self._quiet, self._empty, self._run = 0.0, 0, 0.0, 0.0, 0

    def again(self) -> None:
        self._run = 80

    def empty_frame(self) -> None:
        if self._run < 80:
            self._quiet, self._empty = self._quiet * (1 - 1 / 400), self._empty * (1 - 1 / 400) + 1
        self._run += 1

    def of(self, power: Row, noise: Row, *, learn: bool) -> float:
        self._run = 0
        line = noise.sum()
        if learn and power.sum() > 3 * line:
            self._seen = min(self._seen + 1, 200)
            self._speech += (power.sum() - line - self._speech) / self._seen
        elif learn:
            self._quiet, self._empty = self._quiet * (1 - 1 / 400) + 1, self._empty * (1 - 1 / 400)
        snr_db = 10 * math.log10(max(self._speech, TINY) / line)
        floor_db = min(max(snr_db - self._enough_db, self._floor_db), 0.0)
        if self._empty == 0:
            return floor_db
        return floor_db * min(max(5 * self._quiet / max(self._quiet + self._empty, 1.0) - 3, 0.0), 1.0)


def reference(samples: Samples, gains: Gains, *, size: int = 256, ahead: int = 94) -> NDArray[np.float64]:
    """One channel through gains on its spectra: a plain overlap-add of all frames, one after the other."""
    hop, frames = size // 2, samples.size // (size // 2) + 2
    padded = np.zeros((frames + 1) * hop)
    padded[hop : hop + samples.size] = samples
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size)

    def cut() -> Iterator[tuple[int, Row, list[bool]]]:
        for start in range(0, frames * hop, hop):
            frame = padded[start : start + size]
            yield start, frame, [not quarter.any() for quarter in frame.reshape(4, -1)]

    first = int(np.argmax(samples != 0)) // hop
    for start, frame, silent in cut():
        if first * hop <= start < (first + ahead) * hop:
            gains.of(np.abs(np.fft.rfft(frame * window)) ** 2, silent)
    gains.before = np.ones_like(gains.before)
    gains.floor.again()
    cleaned = np.zeros_like(padded)
    for start, frame, silent in cut():
        spectrum = np.fft.rfft(frame * window)
        cleaned[start : start + size] += window * np.fft.irfft(
            spectrum * gains.of(np.abs(spectrum) ** 2, silent)
        )
    quarters = padded.reshape(-1, size // 4)
    cleaned.reshape(quarters.shape)[~quarters.any(axis=1)] = 0.0
    return cleaned[hop : hop + samples.size]


def through(filter_: Filter, samples: Samples, *, block: int = 16_384) -> Samples:
    """A whole stream through a filter, in blocks."""
    done = [filter_.push(samples[at : at + block]) for at in range(0, len(samples), block)]
    return np.concatenate([*done, filter_.finish()])


def noise(frames: int, dbfs: float, seed: int = 9) -> Samples:
    """White noise, shape (frames,)."""
    return np.random.default_rng(seed).normal(0.0, 10 ** (dbfs / 20), frames).astype(np.float32)


def rms_db(samples: NDArray[np.floating]) -> float:
    """RMS in dB of full scale."""
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def si_sdr_db(wanted: Samples, found: NDArray[np.floating]) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux et al. 2019)."""
    x, y = wanted.astype(np.float64), found.astype(np.float64)
    target = x * (x @ y) / (x @ x)
    return float(10 * np.log10((target @ target) / ((y - target) @ (y - target))))
