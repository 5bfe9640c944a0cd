"""A high-pass filter: rumble, wind and handling noise below the voice."""

from __future__ import annotations

import ctypes
import math
from functools import cache
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dsp.audio import Samples
from dsp.native import library
from dsp.stages.base import Context, Stage
from dsp.streams import Filter

# Far over full scale, and far from where single precision ends.
_MOST: Final = 1e30


class HighPass(Stage):
    """Take away what lies below a frequency, and any constant offset.

    A Butterworth filter of minimum phase: no frame waits, and what is well above the cutoff comes out in time. Nearer
    to it what comes out is later: with the usual options by 0.4 ms at 300 Hz and 7 ms at 80 Hz. A filter without that
    would have to ring ahead of each word.
    """

    name: ClassVar[str] = "highpass"

    cutoff_hz: Annotated[float, Field(ge=20.0, le=400.0)] = 80.0
    """Where it takes 3 dB, in Hz, 20 to 400."""
    order: Annotated[int, Field(ge=1, le=8)] = 4
    """Steepness: 6 dB an octave each, 1 to 8."""

    def open(self, context: Context) -> Filter:
        """Begin at rest: as if silence had been before the first frame."""
        sections = butterworth(self.cutoff_hz, self.order, context.audio.sample_rate_hz)
        return Biquads(sections, context.audio.channels)


def butterworth(cutoff_hz: float, order: int, sample_rate_hz: int) -> NDArray[np.float64]:
    """Second-order sections of a high-pass, bilinear from the analogue prototype with the cutoff kept in place.

    Returns
    -------
    Shape (sections, 5): b0, b1, b2, a1, a2 with a0 = 1; a single pole stands in a section of its own.
    """
    warped = math.tan(math.pi * cutoff_hz / sample_rate_hz)
    sections = []
    for pair in range(order // 2):
        # The prototype's pole pairs: s^2 + 2 sin(angle) s + 1, highest quality last.
        damping = 2.0 * math.sin(math.pi * (2 * pair + 1) / (2 * order))
        scale = 1.0 + damping * warped + warped**2
        sections.append(
            [
                1.0 / scale,
                -2.0 / scale,
                1.0 / scale,
                2.0 * (warped**2 - 1.0) / scale,
                (1.0 - damping * warped + warped**2) / scale,
            ]
        )
    if order % 2:
        sections.append(
            [1.0 / (1.0 + warped), -1.0 / (1.0 + warped), 0.0, (warped - 1.0) / (1.0 + warped), 0.0]
        )
    return np.array(sections)


class Biquads:
    """Runs every channel through the same second-order sections, in double precision."""

    def __init__(self, sections: NDArray[np.float64], channels: int) -> None:
        self._sections: Final = np.ascontiguousarray(sections)
        self._channels: Final = channels
        self._state = np.zeros((channels, len(sections), 2))
        self._at = np.zeros(channels, dtype=np.uint64)

    def push(self, block: Samples) -> Samples:
        """Filter the next frames."""
        source = np.asfortranarray(np.clip(block, -_MOST, _MOST))
        filtered: Samples = np.empty_like(source, order="F")
        for channel in range(self._channels):
            _kernel()(
                self._state[channel].ctypes.data,
                self._sections.ctypes.data,
                len(self._sections),
                self._at[channel:].ctypes.data,
                source[:, channel].ctypes.data,
                filtered[:, channel].ctypes.data,
                len(source),
            )
        return filtered

    def finish(self) -> Samples:
        """Give nothing: no frame was held back."""
        return np.empty((0, self._channels), dtype=np.float32, order="F")


@cache
def _kernel() -> Any:
    kernel = library().cc_biquads
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    kernel.argtypes = [pointer, pointer, size, pointer, pointer, pointer, size]
    kernel.restype = None
    return kernel
