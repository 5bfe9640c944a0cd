"""The true-peak limiter as a filter: gain in, nothing above the threshold out, no delay."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.native import library, pointer
from dsp.true_peak import Interpolator, interpolator


@dataclass(frozen=True)
class Ballistics:
    """How the gain moves around a peak."""

    attack_s: float
    """How long before a peak it begins to fall."""
    release_s: float
    """How long after a peak it is back."""
    passes: int
    """How often what is left over the threshold is limited again: a gain that moves fast makes new peaks."""
    margin_db: float
    """Held in hand below the ceiling: a gain that moves shifts the peaks between samples a little, and what a fast one
    adds near half the sample rate is read differently by different meters."""


SMOOTH: Final = Ballistics(attack_s=0.005, release_s=0.020, passes=1, margin_db=0.03)
"""For clean speech: what the gain does to the sound lies close to it, and is masked."""
FAST: Final = Ballistics(attack_s=0.000_5, release_s=0.000_5, passes=4, margin_db=0.2)
"""For noisy speech: touches next to nothing but the peaks; what that adds to the sound lies under the noise."""

_HELD_BACK_FRAMES: Final = 64  # more than what the kernel keeps beside the attack


class Limiter:
    """Multiplies channels by their gains and holds their true peaks at a ceiling by one gain curve.

    Where a peak, measured between the samples too, would pass the ceiling, the gain falls along half a raised cosine
    before it, and recovers along another after it; where windows overlap the lower gain holds. Frames that no peak is
    near are multiplied by the gain and nothing else.

    Parameters
    ----------
    sample_rate_hz
        Frames a second.
    gains
        Linear gain of each channel.
    ceiling_dbtp
        True peak that is not passed, in dBTP.
    ballistics
        How the gain moves around a peak.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        gains: Sequence[float],
        *,
        ceiling_dbtp: float,
        ballistics: Ballistics = SMOOTH,
    ) -> None:
        self._gains = np.array(gains, dtype=np.float32)
        self._gains_at = pointer(self._gains)
        window, ahead, behind = _window(sample_rate_hz, ballistics)
        self._held_back = ballistics.passes * (ahead + _HELD_BACK_FRAMES)
        self._state = _kernels().cc_limiter_new(
            ctypes.byref(interpolator(sample_rate_hz)),
            len(self._gains),
            threshold(ceiling_dbtp, ballistics),
            ahead,
            behind,
            pointer(window),
            ballistics.passes,
        )
        if not self._state:
            raise MemoryError("no memory for a limiter")
        weakref.finalize(self, _kernels().cc_limiter_free, self._state)

    def push(self, block: Samples) -> Samples:
        """See ``dsp.streams.Filter``."""
        block = np.asfortranarray(block)
        room = len(block) + self._held_back
        done = np.empty((room, len(self._gains)), dtype=np.float32, order="F")
        count = _kernels().cc_limit(
            self._state, pointer(block), len(block), len(block), self._gains_at, pointer(done), room
        )
        return done[:count]

    def finish(self) -> Samples:
        """See ``dsp.streams.Filter``."""
        done = np.empty((self._held_back, len(self._gains)), dtype=np.float32, order="F")
        return done[: _kernels().cc_limit_rest(self._state, pointer(done), self._held_back)]


def threshold(ceiling_dbtp: float, ballistics: Ballistics) -> float:
    """The magnitude, linear, that peaks are held at so that a ceiling in dBTP is kept."""
    return float(10 ** ((ceiling_dbtp - ballistics.margin_db) / 20))


@cache
def _window(sample_rate_hz: int, ballistics: Ballistics) -> tuple[NDArray[np.float32], int, int]:
    """What a peak takes of the gain around it, up to 1, with the frames before and after the peak's two."""
    ahead, behind = (
        round(seconds * sample_rate_hz) for seconds in (ballistics.attack_s, ballistics.release_s)
    )
    fall = (1 - np.cos(np.pi * np.arange(1, ahead + 1) / (ahead + 1))) / 2
    rise = (1 + np.cos(np.pi * np.arange(1, behind + 1) / (behind + 1))) / 2
    return np.concatenate((fall, [1.0, 1.0], rise)).astype(np.float32), ahead, behind


@cache
def _kernels() -> Any:
    kernels, size, address = library(), ctypes.c_size_t, ctypes.c_void_p
    kernels.cc_limiter_new.argtypes = (
        ctypes.POINTER(Interpolator),
        size,
        ctypes.c_float,
        size,
        size,
        address,
        size,
    )
    kernels.cc_limiter_new.restype = address
    kernels.cc_limiter_free.argtypes = (address,)
    kernels.cc_limiter_free.restype = None
    kernels.cc_limit.argtypes = (address, address, size, size, address, address, size)
    kernels.cc_limit.restype = size
    kernels.cc_limit_rest.argtypes = (address, address, size)
    kernels.cc_limit_rest.restype = size
    return kernels
