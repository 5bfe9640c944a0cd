"""The wheel's own RNNoise, frame by frame at 48 kHz: what `dsp.rnnoise` agrees with, and many times slower."""

from __future__ import annotations

import ctypes
import weakref
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.rnnoise_model import library_path
from dsp.rnnoise_rates import AtAnotherRate, Decimator, Interpolator, at_rate
from dsp.rnnoise_tables import FULL_RATE_HZ, NATIVE_RATES_HZ
from dsp.streams import Filter

FRAME = 480
DELAY = 2 * FRAME
"""By which RNNoise 0.2 is late: its windows overlap by half, and its gains wait for the next frame."""
SCALE = np.float32(32768)
"""RNNoise expects samples of 16 bits."""


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(library_path()))
    library.rnnoise_create.restype = ctypes.c_void_p
    library.rnnoise_create.argtypes = (ctypes.c_void_p,)
    library.rnnoise_destroy.restype = None
    library.rnnoise_destroy.argtypes = (ctypes.c_void_p,)
    library.rnnoise_process_frame.restype = ctypes.c_float
    library.rnnoise_process_frame.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    return library


class _At48k:
    """The library on every channel of a stream at 48 kHz."""

    def __init__(self, channels: int, mix: float) -> None:
        self._library = _library()
        self._states = [self._library.rnnoise_create(None) for _ in range(channels)]
        for state in self._states:
            weakref.finalize(self, self._library.rnnoise_destroy, state)
        self._mix = np.float32(mix)
        self._waiting: Samples = np.empty((0, channels), np.float32)
        self._original: Samples = np.empty((0, channels), np.float32)
        self._behind = DELAY

    def push(self, block: Samples) -> Samples:
        """Take frames; give those that are done."""
        self._original = np.concatenate([self._original, block])
        return self._run(block)

    def finish(self) -> Samples:
        """Give what was held back."""
        silence = np.zeros((DELAY + FRAME, len(self._states)), np.float32)
        return self._run(silence)

    def _run(self, block: Samples) -> Samples:
        waiting = np.concatenate([self._waiting, block])
        whole = len(waiting) // FRAME * FRAME
        self._waiting = waiting[whole:]
        done = self._denoised(waiting[:whole].T)[self._behind :][: len(self._original)]
        self._behind -= min(self._behind, whole)
        original, self._original = self._original[: len(done)], self._original[len(done) :]
        return (np.float32(1) - self._mix) * done + self._mix * original

    def _denoised(self, audio: NDArray[np.float32]) -> Samples:
        frames: NDArray[np.float32] = np.ascontiguousarray(audio * SCALE, dtype=np.float32)
        for state, channel in zip(self._states, frames, strict=True):
            for start in range(0, len(channel), FRAME):
                at = channel[start:].ctypes.data
                self._library.rnnoise_process_frame(state, at, at)
        denoised: Samples = (frames / SCALE).T
        return denoised


class LibraryRnNoise:
    """The wheel's RNNoise with the interface of :class:`dsp.rnnoise.RnNoise`.

    Raises
    ------
    RnNoiseUnavailable
        The wheel is not installed.
    """

    def __init__(self, sample_rate_hz: int, channels: int, *, mix: float = 0.2) -> None:
        self._filter: Filter
        if sample_rate_hz == FULL_RATE_HZ:
            self._filter = _At48k(channels, mix)
        elif sample_rate_hz in NATIVE_RATES_HZ:
            there, back = Interpolator(sample_rate_hz, channels), Decimator(sample_rate_hz, channels)
            piece = sample_rate_hz // 10
            self._filter = AtAnotherRate(
                _At48k(channels, 0.0), there, back, piece=piece, channels=channels, mix=mix
            )
        else:
            self._filter = at_rate(_At48k(channels, 0.0), sample_rate_hz, FULL_RATE_HZ, channels, mix)

    def push(self, block: Samples) -> Samples:
        """Take the next frames, shape (frames, channels); give those that are done."""
        return self._filter.push(block)

    def finish(self) -> Samples:
        """Give the frames that were held back."""
        return self._filter.finish()
