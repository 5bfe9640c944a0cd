"""Takes hum away: follows each of its lines and subtracts it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np

from dsp.audio import Samples
from dsp.frame_queue import FrameQueue
from dsp.hum import Hum
from dsp.native import library
from dsp.speech import Decision

# How wide the notch of each line is, in Hz. Narrow while somebody speaks: what a notch takes from the voice, and how
# long the voice rings in it, depend on that alone.
_QUIET_HZ: Final = 1.0
_SPEECH_HZ: Final = 0.1
_STEP_S: Final = 1.0  # the mains frequency is taken as constant for as long
_LANES: Final = 4
_NOTHING: Final = 10**-9.6
_MOST: Final = 1e30


class HumFilter:
    """Subtracts the hum of channels, each by the lines that were found in it.

    The first second is held back: what the lines are like at its end is turned back to its beginning, so that they
    are gone from the first sample on.
    """

    def __init__(self, sample_rate_hz: int, hum: Sequence[Hum], decisions: Sequence[Decision]) -> None:
        """Begin at the first frame; a decision and hum for each channel that goes through."""
        self._channels: Final = [
            _Channel(sample_rate_hz, found, decision) for found, decision in zip(hum, decisions, strict=True)
        ]
        self._lead: Final = round(_STEP_S * sample_rate_hz)
        self._waiting = FrameQueue(len(hum))
        self._begun = False

    def push(self, block: Samples) -> Samples:
        """Take the next frames; give them without their hum, once a second is there."""
        if self._begun:
            return self._cleaned(block)
        self._waiting.push(block)
        if len(self._waiting) < self._lead:
            return np.empty((0, len(self._channels)), dtype=np.float32, order="F")
        return self._begin()

    def finish(self) -> Samples:
        """Give what waits of a recording that is shorter than a second."""
        if self._begun or not len(self._waiting):
            return np.empty((0, len(self._channels)), dtype=np.float32, order="F")
        return self._begin()

    def _begin(self) -> Samples:
        self._begun = True
        waiting = self._waiting.take(len(self._waiting))
        for index, channel in enumerate(self._channels):
            channel.look_ahead(waiting[: self._lead, index])
        return self._cleaned(waiting)

    def _cleaned(self, block: Samples) -> Samples:
        cleaned: Samples = np.empty(block.shape, dtype=np.float32, order="F")
        for index, channel in enumerate(self._channels):
            channel.clean(np.clip(block[:, index], -_MOST, _MOST), cleaned[:, index])
        return cleaned


class _Channel:
    """The lines of one channel, as they stand at one frame."""

    def __init__(self, sample_rate_hz: int, hum: Hum, decision: Decision) -> None:
        self._rate_hz: Final = sample_rate_hz
        self._hum: Final = hum
        self._count: Final = -(-len(hum.harmonics) // _LANES) * _LANES
        self._phasors = np.zeros(2 * self._count)
        self._turns = np.zeros(2 * self._count)
        # What the kernel knows of what is left after the subtraction; its floor comes down from far above.
        self._gate = np.array([1e60, 0.0, 0.0, 1.0])
        self._step_frames: Final = decision.samples
        self._narrow: Final = _SPEECH_HZ * 2 * math.pi / sample_rate_hz
        self._at = 0
        widths_hz = np.where(decision.noise, _QUIET_HZ, _SPEECH_HZ)
        # Where there is digital silence there is no hum either: nothing is learnt, and silence stays.
        widths_hz[decision.noise & (decision.power <= _NOTHING)] = 0.0
        # The last frames of the recording, that fill no frame of the decision, are as those before them.
        self._steps: Final = np.append(widths_hz, widths_hz[-1:]) * (2 * math.pi / sample_rate_hz)

    def look_ahead(self, samples: Samples) -> None:
        """Learn the lines of the first samples, and go back to the beginning; twice, for lines that come in slowly."""
        for _ in range(2):
            self.clean(samples, np.empty_like(samples))
            self._turn_back(samples.size)

    def _turn_back(self, frames: int) -> None:
        real, imaginary = self._phasors[: self._count], self._phasors[self._count :]
        lines = real + 1j * imaginary
        for place, harmonic in enumerate(self._hum.harmonics):
            angle = self._angle(harmonic, 0) * frames
            lines[place] *= complex(math.cos(angle), -math.sin(angle))
        self._phasors[: self._count], self._phasors[self._count :] = lines.real, lines.imag
        self._gate[1:] = 0.0, 0.0, 1.0
        self._at = 0

    def clean(self, samples: Samples, cleaned: Samples) -> None:
        """Subtract the hum of the next samples, shape (frames,)."""
        step = round(_STEP_S * self._rate_hz)
        done = 0
        while done < samples.size:
            self._turn(self._at // step)
            frames = min(step - self._at % step, samples.size - done)
            _kernel()(
                self._phasors.ctypes.data,
                self._gate.ctypes.data,
                self._turns.ctypes.data,
                self._count,
                self._steps.ctypes.data,
                self._step_frames,
                self._narrow,
                10 ** (self._hum.level_dbfs / 10),
                self._at,
                np.ascontiguousarray(samples[done : done + frames]).ctypes.data,
                cleaned[done:].ctypes.data,
                frames,
            )
            self._at += frames
            done += frames

    def _turn(self, step: int) -> None:
        for place, harmonic in enumerate(self._hum.harmonics):
            angle = self._angle(harmonic, step)
            self._turns[place], self._turns[self._count + place] = math.cos(angle), math.sin(angle)

    def _angle(self, harmonic: int, step: int) -> float:
        """By how much a line turns from sample to sample."""
        frequency_hz = self._hum.frequency_hz((step + 0.5) * _STEP_S) * harmonic
        return 2 * math.pi * frequency_hz / self._rate_hz


@cache
def _kernel() -> Any:
    kernel = library().cc_hum
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    kernel.argtypes = [
        *(pointer, pointer, pointer, size, pointer, size),
        *(ctypes.c_double, ctypes.c_double, ctypes.c_uint64, pointer, pointer, size),
    ]
    kernel.restype = None
    return kernel
