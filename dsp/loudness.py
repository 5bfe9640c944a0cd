"""Loudness after ITU-R BS.1770-5, EBU Tech 3341 and EBU Tech 3342."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Pause, Samples
from dsp.k_weighting import k_weighting
from dsp.native import library, pointer

_ABSOLUTE_GATE_LUFS: Final = -70.0
_RELATIVE_GATE_LU: Final = -10.0
_RANGE_GATE_LU: Final = -20.0
_OFFSET: Final = -0.691  # BS.1770-5, annex 1, equation 2
_PART_S: Final = 0.02  # Tech 3341, cases 13 and 14: a window that moves by more misses the loudest 400 ms
_PARTS: Final = 5  # 400 ms blocks overlap by 75 %
_REMEMBERED: Final = 12  # values, by the kernel, of each channel
_MOMENTARY_STEPS, _SHORT_TERM_STEPS, _RANGE_STEPS = 4, 30, 10
_WINDOWS_PARTS: Final = (_MOMENTARY_STEPS * _PARTS, _SHORT_TERM_STEPS * _PARTS)
_PARTS_AT_ONCE: Final = 3_000


@dataclass(frozen=True)
class Loudness:
    """Loudness of a programme."""

    integrated_lufs: float | None
    """Gated loudness in LUFS; None under 400 ms or below -70 LUFS, where it is undefined."""
    range_lu: float | None
    """Loudness range in LU; None under 3 s or below the gate."""
    momentary_max_lufs: float | None
    """Greatest loudness of 400 ms in LUFS; None under 400 ms and for digital silence."""
    short_term_max_lufs: float | None
    """Greatest loudness of 3 s in LUFS; None under 3 s and for digital silence."""


@dataclass(frozen=True, eq=False)
class Energies:
    """Mean square of the K-weighted samples in steps of 100 ms, from which every loudness is read."""

    steps: NDArray[np.float64]
    """Shape (channels, steps); whole steps only."""
    counted: NDArray[np.bool_]
    """Which steps lie outside the pauses, shape (steps,)."""
    peaks: NDArray[np.float32]
    """Greatest magnitude among each step's samples, before the weighting; shape (channels, steps)."""
    loudest: NDArray[np.float64] | None = None
    """Greatest mean square of 400 ms and of 3 s, of each channel and last of all together; shape (2, channels + 1).
    None where it was not looked for."""

    def loudness(self, channel: int | None = None) -> Loudness:
        """Loudness of a channel as a mono programme, or of all together; each has the weight 1.0."""
        total = self._total(None if channel is None else [channel])
        momentary, short_term = (
            (0.0, 0.0) if self.loudest is None else self.loudest[:, -1 if channel is None else channel]
        )
        return Loudness(
            integrated_lufs=self._integrated(total),
            range_lu=self._range(total),
            momentary_max_lufs=_level(momentary) if momentary > 0.0 else None,
            short_term_max_lufs=_level(short_term) if short_term > 0.0 else None,
        )

    def integrated_lufs(self, channels: Sequence[int] | None = None) -> float | None:
        """Integrated loudness of some channels, or of all, together; None where it is undefined."""
        return self._integrated(self._total(channels))

    def _total(self, channels: Sequence[int] | None) -> NDArray[np.float64]:
        total: NDArray[np.float64] = (self.steps if channels is None else self.steps[list(channels)]).sum(
            axis=0
        )
        return total

    def _integrated(self, total: NDArray[np.float64]) -> float | None:
        """BS.1770-5, annex 1, equations 3 to 7: 400 ms blocks, absolute gate, relative gate."""
        blocks = self._blocks(total, _MOMENTARY_STEPS)
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
        last = total.size - steps + 1
        whole = np.logical_and.reduce([self.counted[i : last + i] for i in range(steps)])
        sums = np.cumsum(np.concatenate(([0.0], total)))
        means: NDArray[np.float64] = (
            np.maximum(sums[steps:] - sums[:-steps], 0.0)[::every][whole[::every]] / steps
        )
        return means


class _Loudest:
    """Finds the greatest mean square of windows that move by 20 ms; EBU Tech 3341, section 2.2.

    Those of a whole recording need not stand side by side, and how they come changes no sum.
    """

    def __init__(
        self, channels: int, part_frames: int, sample_rate_hz: int, pauses: tuple[Pause, ...]
    ) -> None:
        # As far as parts go that lie in the pause, even partly.
        self._paused = [
            (first // part_frames, np.ceil(np.ceil(last) / part_frames))
            for first, last in (
                (max(pause.start_s * sample_rate_hz, 0.0), pause.end_s * sample_rate_hz) for pause in pauses
            )
            if first < last
        ]
        self._known = np.empty((channels + 1, 0))
        self._first = 0  # part, in the recording, of the first that is known
        self._waiting: list[NDArray[np.float64]] = []
        self._found = np.zeros((len(_WINDOWS_PARTS), channels + 1))

    def push(self, parts: NDArray[np.float64]) -> None:
        """Take the mean squares of the next parts, shape (channels, parts)."""
        self._waiting.append(parts)
        if sum(waiting.shape[1] for waiting in self._waiting) >= _PARTS_AT_ONCE:
            self.found()

    def found(self) -> NDArray[np.float64]:
        """Give the greatest mean squares so far, shape (windows, channels + 1); the last of all channels together."""
        added = np.concatenate([self._known[:-1], *self._waiting], axis=1)
        self._waiting = []
        known = np.concatenate([added, added.sum(axis=0, keepdims=True)])
        silenced = np.zeros(known.shape[1], dtype=np.bool_)
        for first, last in self._paused:
            begin, end = (int(np.clip(part - self._first, 0, silenced.size)) for part in (first, last))
            silenced[begin:end] = True
        for found, parts in zip(self._found, _WINDOWS_PARTS, strict=True):
            means = _neighbours(known, parts) / parts
            if silenced.any():
                means[:, _neighbours(silenced[None].astype(np.float64), parts)[0] > 0] = 0.0
            np.maximum(found, means.max(axis=1, initial=0.0), out=found)
        leaving = max(known.shape[1] - max(_WINDOWS_PARTS) + 1, 0)
        self._first += leaving
        self._known = known[:, leaving:]
        return self._found.copy()


def _neighbours(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Sum of each ``count`` neighbours along the last axis; each by the same tree of sums, wherever it stands."""
    places = max(values.shape[1] - count + 1, 0)
    sums = np.zeros((len(values), places))
    at, width, runs = 0, 1, values  # runs of ``width`` neighbours
    while places and width <= count:
        if count & width:
            sums += runs[:, at : at + places]
            at += width
        runs = runs[:, :-width] + runs[:, width:]
        width *= 2
    return sums


class EnergyMeter:
    """K-weights a stream and gathers its ``Energies``.

    Pauses are filtered with the rest, and left out of every loudness.

    Parameters
    ----------
    sample_rate_hz
        Frames a second.
    channels
        Channels side by side.
    pauses
        Stretches that do not count.
    loudest
        Whether to look for the loudest 400 ms and 3 s.
    """

    def __init__(
        self, sample_rate_hz: int, channels: int, pauses: tuple[Pause, ...] = (), *, loudest: bool = False
    ) -> None:
        self._part = step_frames(sample_rate_hz) // _PARTS
        self._rate_hz = sample_rate_hz
        self._pauses = pauses
        self._coefficients = _as_kernel_takes_them(sample_rate_hz)
        self._state = np.zeros((channels, _REMEMBERED))
        self._sums = np.zeros((channels, 2))
        self._channels = channels
        self._frames = 0
        self._tops = np.zeros(channels, dtype=np.float32)
        # Found once: to ask numpy for an address takes longer than to filter 100 ms.
        self._coefficients_at, self._state_at = pointer(self._coefficients), pointer(self._state)
        self._sums_at, self._tops_at = pointer(self._sums), pointer(self._tops)
        self._rest: tuple[NDArray[np.float64], NDArray[np.float32]] = (
            np.empty((channels, 0)),
            np.empty((channels, 0), dtype=np.float32),
        )
        self._ended: list[tuple[NDArray[np.float64], NDArray[np.float32]]] = []
        self._loudest = _Loudest(channels, self._part, sample_rate_hz, pauses) if loudest else None

    def push(self, block: Samples) -> None:
        """Take the next frames, shape (frames, channels)."""
        block = np.asfortranarray(block)
        filled = self._frames % self._part
        energies = np.empty((self._channels, (filled + len(block)) // self._part))
        peaks = np.empty(energies.shape, dtype=np.float32)
        _kernel()(
            pointer(block),
            len(block),
            self._channels,
            len(block),
            self._coefficients_at,
            self._part,
            self._state_at,
            self._sums_at,
            self._tops_at,
            filled,
            pointer(energies),
            pointer(peaks),
            energies.shape[1],
        )
        self._frames += len(block)
        if energies.shape[1]:
            self._gather(energies, peaks)

    def finish(self) -> Energies:
        """Give what was gathered; what follows the last whole step counts nowhere."""
        none = np.empty((self._channels, 0))
        steps = np.concatenate([none, *(energies for energies, _ in self._ended)], axis=1)
        peaks = np.concatenate([none.astype(np.float32), *(peaks for _, peaks in self._ended)], axis=1)
        counted = np.ones(steps.shape[1], dtype=np.bool_)
        step = self._part * _PARTS
        for pause in self._pauses:
            # As far as frames go that lie in the pause, even partly; see ``dsp.audio.paused``.
            first = int(min(max(pause.start_s * self._rate_hz, 0.0), self._frames))
            last = ceil(min(max(pause.end_s * self._rate_hz, 0.0), self._frames))
            if first < last:
                counted[first // step : -(-last // step)] = False
        return Energies(steps, counted, peaks, None if self._loudest is None else self._loudest.found())

    def _gather(self, energies: NDArray[np.float64], peaks: NDArray[np.float32]) -> None:
        """Make steps of parts, shape (channels, parts)."""
        if self._loudest is not None:
            self._loudest.push(energies)
        energies = np.concatenate((self._rest[0], energies), axis=1)
        peaks = np.concatenate((self._rest[1], peaks), axis=1)
        whole = energies.shape[1] // _PARTS * _PARTS
        self._rest = energies[:, whole:], peaks[:, whole:]
        shape = self._channels, whole // _PARTS, _PARTS
        self._ended.append(
            (energies[:, :whole].reshape(shape).mean(axis=2), peaks[:, :whole].reshape(shape).max(axis=2))
        )


def step_frames(sample_rate_hz: int) -> int:
    """Frames of a step of 100 ms, which is made of whole parts."""
    return _PARTS * round(_PART_S * sample_rate_hz)


def _level(power: float) -> float:
    return _OFFSET + 10 * float(np.log10(power))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


@cache
def _as_kernel_takes_them(sample_rate_hz: int) -> NDArray[np.float64]:
    """Each section as the kernel's ``b0`` to ``b4``, ``c2``, ``c4``; shape (2, 7)."""
    taken = []
    for b0, b1, b2, _, a1, a2 in k_weighting(sample_rate_hz):
        other = np.array([1.0, -a1, a2])
        denominator = np.convolve([1.0, a1, a2], other)
        taken.append([*np.convolve([b0, b1, b2], other), denominator[2], denominator[4]])
    return np.array(taken)


@cache
def _kernel() -> Any:
    kernel, size, address = library().cc_k_weigh, ctypes.c_size_t, ctypes.c_void_p
    kernel.argtypes = (
        *(address, size, size, size, address, size),
        *(address, address, address, size, address, address, size),
    )
    kernel.restype = None
    return kernel
