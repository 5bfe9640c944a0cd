"""Mains hum: found by measurement over the recording, followed, and taken away line by line.

Hum is a comb of lines at multiples of 50 or 60 Hz that stand still while all else moves. Spectra of one second show
them; their median over sixteen seconds without speech leaves little else. The lines are multiples of one frequency, so
all of them together tell it far better than each alone: to some thousandths of a Hz, as the twentieth harmonic needs it
while the grid drifts by 0.2 Hz.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.frame_queue import FrameQueue
from dsp.speech import Decision

if TYPE_CHECKING:
    from dsp.stages.base import Audio

Spectrum = NDArray[np.float64]

_WINDOW_S: Final = 1.0
_CHUNK_WINDOWS: Final = 32  # 16 s, for the windows overlap by half
_FEWEST_WINDOWS: Final = 3
_HIGHEST_HZ: Final = 2_000.0
_MAINS_HZ: Final = (50.0, 60.0)
_DRIFT_HZ: Final = 0.5
_GRID_HZ: Final = 0.0025
_OFF_HZ: Final = 0.1  # how far a line may be from its place on the comb
_PHASE_OFF_HZ: Final = 0.4
_PHASE_STEPS: Final = 50
# A line this far above the noise in 1 Hz around it is 4 dB below the noise in the ear's band of 100 Hz at least.
_STANDS_OUT_DB: Final = 14.0
_FEWEST_LINES: Final = 3
# One line alone is hum only down here: above there are tones, and the dial tone of many countries is 350 and 450 Hz.
_HUM_ALONE_HZ: Final = 130.0
_AROUND_HZ: Final = 20.0
# A grid in trouble; half a stretch from its middle to its end.
_FASTEST_HZ_S: Final = 0.001
_GOES_ON_S: Final = 8.0
_NOTHING: Final = 10**-9.6


@dataclass(frozen=True, eq=False)
class Hum:
    """The hum of one channel."""

    harmonics: tuple[int, ...]
    """Which multiples of the mains frequency stand out, ascending."""
    times_s: NDArray[np.float64]
    """When the frequency was measured, ascending."""
    mains_hz: NDArray[np.float64]
    """The frequency then."""
    level_dbfs: float
    """Of all lines together."""

    def frequency_hz(self, time_s: float) -> float:
        """Mains frequency at a time: on a line between measurements, and a little way on before and after them."""
        measured_hz = float(np.interp(time_s, self.times_s, self.mains_hz))
        if self.times_s.size < 2:  # noqa: PLR2004
            return measured_hz
        ends = slice(0, 2) if time_s < self.times_s[0] else slice(-2, None)
        slope = float(np.diff(self.mains_hz[ends])[0] / np.diff(self.times_s[ends])[0])
        beyond_s = time_s - min(max(time_s, float(self.times_s[0])), float(self.times_s[-1]))
        beyond_s = min(max(beyond_s, -_GOES_ON_S), _GOES_ON_S)
        return measured_hz + min(max(slope, -_FASTEST_HZ_S), _FASTEST_HZ_S) * beyond_s


def find_hum(audio: Audio, decisions: Sequence[Decision]) -> list[Hum | None]:
    """Look for hum in each channel; reads the recording once. None where there is none."""
    searches = [_Search(decision, audio.sample_rate_hz) for decision in decisions]
    window = round(_WINDOW_S * audio.sample_rate_hz)
    step = window // 2
    waiting, start = FrameQueue(audio.channels), 0
    for block in audio.blocks():
        waiting.push(block)
        while len(waiting) >= window:
            frames = waiting.first(window)
            for channel, search in enumerate(searches):
                search.take(frames[:, channel], start)
            waiting.drop(step)
            start += step
    return [search.found() for search in searches]


@dataclass(frozen=True, eq=False)
class _Comb:
    """What a stretch of the recording shows of one mains frequency."""

    time_s: float
    mains_hz: float
    score: float
    above_db: Spectrum
    """How far each harmonic stands out, shape (harmonics,)."""
    power: Spectrum
    """Mean square of each harmonic."""

    @property
    def stands_out(self) -> NDArray[np.bool_]:
        lines: NDArray[np.bool_] = self.above_db >= _STANDS_OUT_DB
        return lines

    @property
    def is_hum(self) -> bool:
        alone = int(_HUM_ALONE_HZ // self.mains_hz)
        return bool(self.stands_out[:alone].any()) or int(self.stands_out.sum()) >= _FEWEST_LINES


class _Search:
    """Looks for hum in one channel."""

    def __init__(self, decision: Decision, sample_rate_hz: int) -> None:
        self._decision: Final = decision
        self._rate_hz: Final = sample_rate_hz
        window = round(_WINDOW_S * sample_rate_hz)
        self._shape: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)
        self._fft: Final = 1 << (2 * window - 1).bit_length()
        self._bin_hz: Final = sample_rate_hz / self._fft
        highest_hz = min(_HIGHEST_HZ, 0.45 * sample_rate_hz) + _AROUND_HZ
        self._bins: Final = round(highest_hz / self._bin_hz)
        self._silent: Final = decision.power <= _NOTHING
        self._quiet: list[NDArray[np.complexfloating]] = []
        self._starts_s: list[float] = []
        self._windows, self._chunk_start = 0, 0
        self._combs: Final[dict[float, list[_Comb]]] = {mains_hz: [] for mains_hz in _MAINS_HZ}

    def take(self, samples: Samples, start: int) -> None:
        """Look at one window."""
        first, last = start // self._decision.samples, (start + samples.size) // self._decision.samples
        if not (self._decision.speech[first:last].any() or self._silent[first:last].any()):
            spectrum = np.fft.rfft((samples - samples.mean()) * self._shape, self._fft)
            self._quiet.append(spectrum[: self._bins].copy())  # or all the rest would stay in memory with it
            self._starts_s.append(start / self._rate_hz)
        self._windows += 1
        if self._windows == _CHUNK_WINDOWS:
            self._end_chunk(start + samples.size)

    def found(self) -> Hum | None:
        """Say what was found in all of the recording."""
        self._end_chunk(self._chunk_start + round(self._windows * _WINDOW_S / 2 * self._rate_hz))
        combs = max(self._combs.values(), key=lambda combs: sum(comb.score for comb in combs))
        hum = [comb for comb in combs if comb.is_hum]
        if not hum:
            return None
        mains_hz = np.array([comb.mains_hz for comb in hum])
        # Half of the stretches that have hum at all: a line that was there once may have been a tone.
        often = np.mean([comb.stands_out for comb in hum], axis=0) >= 0.5  # noqa: PLR2004
        if not often.any():
            return None
        power = float(np.mean([comb.power[often].sum() for comb in hum]))
        return Hum(
            harmonics=tuple(int(index) + 1 for index in np.flatnonzero(often)),
            times_s=np.array([comb.time_s for comb in hum]),
            mains_hz=mains_hz,
            level_dbfs=10 * math.log10(power),
        )

    def _end_chunk(self, end: int) -> None:
        if len(self._quiet) >= _FEWEST_WINDOWS:
            spectra = np.array(self._quiet)
            power = np.median(
                spectra.real.astype(np.float64) ** 2 + spectra.imag.astype(np.float64) ** 2, axis=0
            )
            power *= 8.0 / self._shape.size**2  # a sinusoid's peak is its mean square
            stretch = _Stretch(
                time_s=(self._chunk_start + end) / 2 / self._rate_hz,
                starts_s=np.array(self._starts_s),
                spectra=spectra,
                bin_hz=self._bin_hz,
                power=power,
                above_db=_above_db(power, self._bin_hz),
            )
            for mains_hz, combs in self._combs.items():
                combs.append(stretch.comb(mains_hz))
        self._quiet, self._starts_s, self._windows, self._chunk_start = [], [], 0, end


@dataclass(eq=False)
class _Stretch:
    """Spectra of some seconds without speech."""

    time_s: float
    """The middle."""
    starts_s: NDArray[np.float64]
    """When each window begins."""
    spectra: NDArray[np.complexfloating]
    """Shape (windows, bins)."""
    bin_hz: float
    """From bin to bin."""
    power: Spectrum
    """Median over the windows; of a sinusoid: its mean square."""
    above_db: Spectrum
    """How far each bin is above its neighbourhood."""

    def comb(self, nominal_hz: float) -> _Comb:
        """Find the comb of lines near multiples of 50 or 60 Hz that stands out most."""
        highest_hz = self.power.size * self.bin_hz - _AROUND_HZ
        harmonics = np.arange(1, int(highest_hz // nominal_hz) + 1)
        lines_hz, lines_db = self._peaks
        grid_hz = nominal_hz + np.arange(-_DRIFT_HZ, _DRIFT_HZ + _GRID_HZ / 2, _GRID_HZ)
        order = np.maximum(np.rint(lines_hz / nominal_hz), 1.0)
        off = np.abs(lines_hz - order * grid_hz[:, None]) / _OFF_HZ
        # No line counts for more than two that just stand out: a tone is loud, hum is many.
        scores = (np.clip(1.0 - off, 0.0, 1.0) * np.minimum(lines_db, 2 * _STANDS_OUT_DB)).sum(axis=1)
        best = int(scores.argmax())
        mains_hz = float(grid_hz[best])
        on_comb = off[best] < 1.0
        if on_comb.any():
            multiples = order[on_comb]
            mains_hz = float((multiples * lines_hz[on_comb]).sum() / (multiples**2).sum())
            mains_hz = self._by_phase(multiples, mains_hz)
        around = self._nearest(harmonics, mains_hz)[:, None] + np.arange(-1, 2)
        above_db, power = self.above_db[around].max(axis=1), self.power[around].max(axis=1)
        return _Comb(self.time_s, mains_hz, float(scores[best]), above_db, power)

    @cached_property
    def _peaks(self) -> tuple[Spectrum, Spectrum]:
        """All lines that stand out: their frequencies in Hz, and by how much, in dB."""
        left, top, right = self.above_db[:-2], self.above_db[1:-1], self.above_db[2:]
        at = np.flatnonzero((top >= _STANDS_OUT_DB) & (top > left) & (top >= right))
        left_db, top_db, right_db = (
            10 * np.log10(np.maximum(self.power[at + side], 1e-30)) for side in (0, 1, 2)
        )
        bend = np.maximum(2 * top_db - left_db - right_db, 1e-9)
        beside = np.clip(0.5 * (right_db - left_db) / bend, -0.5, 0.5)
        return (at + 1 + beside) * self.bin_hz, self.above_db[at + 1]

    def _nearest(self, harmonics: NDArray[Any], mains_hz: float) -> NDArray[np.intp]:
        return np.rint(harmonics * mains_hz / self.bin_hz).astype(np.intp)

    def _by_phase(self, multiples: Spectrum, mains_hz: float) -> float:
        """Find the frequency at which the windows' phases agree best, over all lines of the comb."""
        lines = self.spectra[:, self._nearest(multiples, mains_hz)].astype(np.complex128)
        lines = lines / np.sqrt(np.mean(np.abs(lines) ** 2, axis=0))
        # Further away the phases agree again by accident: windows begin 0.5 s apart.
        step_hz = min(_PHASE_OFF_HZ / multiples.max(), _OFF_HZ) / _PHASE_STEPS
        grid_hz = mains_hz + np.arange(-_PHASE_STEPS, _PHASE_STEPS + 1) * step_hz
        turns = np.exp(-2j * np.pi * grid_hz[:, None, None] * self.starts_s[:, None] * multiples)
        agreement = (np.abs((lines * turns).sum(axis=1)) ** 2).sum(axis=1)
        best = int(np.clip(agreement.argmax(), 1, agreement.size - 2))
        left, top, right = agreement[best - 1 : best + 2]
        bend = max(2 * top - left - right, 1e-9)
        found_hz = grid_hz[best] + float(np.clip(0.5 * (right - left) / bend, -1.0, 1.0)) * step_hz
        # What processors disagree about in the last bit must not be heard.
        return round(float(found_hz), 6)


def _above_db(power: Spectrum, bin_hz: float) -> Spectrum:
    """How far each bin is above the median of the 20 Hz around it, in dB."""
    level_db: Spectrum = 10 * np.log10(np.maximum(power, 1e-30))
    width = round(_AROUND_HZ / bin_hz)
    blocks = level_db[: level_db.size // width * width].reshape(-1, width)
    middles = np.arange(len(blocks)) * width + (width - 1) / 2
    return level_db - np.interp(np.arange(level_db.size), middles, np.median(blocks, axis=1))
