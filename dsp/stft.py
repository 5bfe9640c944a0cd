"""Short-time spectra of a stream: frames, windows, and the filter that carries a gain on them from block to block.

A frame is about 32 ms long, a hop half of it. Half a sine is the window at both ends (the square root of Hann's), so
that the overlaps add up to 1 and a gain of 1 gives back what went in, within -130 dB. The transforms and the gains are
C (``dsp/native/spectral.h``).
"""

from __future__ import annotations

import ctypes
import math
import weakref
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.native import library

_FRAME_S: Final = 0.032
# Time constants are given for hops of this length, as in the papers at 8 and 16 kHz; other rates' hops differ by 18%.
_USUAL_HOP_S: Final = 0.016
_LEAST_RATE_HZ: Final = 8_000
_MOST_RATE_HZ: Final = 48_000
_DEEPEST_DB: Final = -40.0
_MOST_ENOUGH_DB: Final = 60.0
_RADICES: Final = (4, 2, 3)
# The noise of so much sound is learnt before any of it is cleaned.
_AHEAD_S: Final = 1.5


@dataclass(frozen=True)
class Frames:
    """How a stream is cut into frames."""

    size: int
    """Samples of a frame, 2^a or 3 * 2^a."""
    hop: int
    """Samples from one frame's beginning to the next's: half a frame."""
    hop_s: float
    """The same in seconds."""

    @classmethod
    def at(cls, sample_rate_hz: int) -> Frames:
        """The frames for a rate of 8,000 to 48,000 Hz: of the length that is nearest to 32 ms.

        Raises
        ------
        ValueError
            For any other rate.
        """
        if not _LEAST_RATE_HZ <= sample_rate_hz <= _MOST_RATE_HZ:
            raise ValueError(
                f"sample_rate_hz: {_LEAST_RATE_HZ} to {_MOST_RATE_HZ} wanted, got {sample_rate_hz}"
            )
        wanted = _FRAME_S * sample_rate_hz
        size = min((k << a for k in (1, 3) for a in range(6, 12)), key=lambda n: abs(math.log(n / wanted)))
        return cls(size, size // 2, size / 2 / sample_rate_hz)

    def kept(self, of_usual: float) -> float:
        """What a recursive mean keeps from hop to hop, 0 to 1, where it keeps ``of_usual`` in 16 ms."""
        return float(of_usual ** (self.hop_s / _USUAL_HOP_S))

    def count(self, seconds: float) -> int:
        """How many hops there are in a time, at least 1."""
        return max(1, round(seconds / self.hop_s))

    def window(self) -> NDArray[np.float32]:
        """Analysis and synthesis window, shape (size,)."""
        window: NDArray[np.float32] = np.sin(np.pi * (np.arange(self.size) + 0.5) / self.size).astype(
            np.float32
        )
        return window

    def twiddles(self) -> NDArray[np.float32]:
        """What the passes of the transform of half the length turn by, pass by pass; real beside imaginary parts."""
        passes, left = [], self.size // 2
        while left > 1:
            radix = next(radix for radix in _RADICES if left % radix == 0)
            passes.append(_turned(np.arange(left // radix)[:, None] * np.arange(1, radix) / left).ravel())
            left //= radix
        return np.concatenate(passes)

    def unpack(self) -> NDArray[np.float32]:
        """What joins two spectra of half the length to that of a real frame, shape (size // 2, 2)."""
        return _turned(np.arange(self.size // 2) / self.size)


def _turned(turns: NDArray[np.float64]) -> NDArray[np.float32]:
    """1 turned back by parts of a circle, as pairs of real and imaginary part along a last axis."""
    angles = -2 * np.pi * turns
    pairs: NDArray[np.float32] = np.stack([np.cos(angles), np.sin(angles)], axis=-1).astype(np.float32)
    return pairs


def floats(*names: str) -> list[tuple[str, type[ctypes.c_float]]]:
    """Fields of a structure in C."""
    return [(name, ctypes.c_float) for name in names]


class FloorState(ctypes.Structure):
    """``floor_state`` of ``spectral.h``: how deep gains may go, by the SNR that is measured as the stream goes by.

    The floor leaves noise that is ``enough_db`` below the speech as it is, and lowers no noise by more than
    ``floor_db`` nor further than to ``enough_db`` below. The speech's level is the mean power of the latest 3 s of
    frames that stand out of the noise. Where more than a third of the pauses is digital silence, so that there is too
    little noise to learn from, the floor rises to 0 dB; silence beyond 1.3 s is a muted party and no pause.
    """

    _fields_ = floats(
        "deepest_ln", "enough_ln", "onset", "memory", "longest", "speech", "seen", "quiet", "empty", "run"
    )

    @classmethod
    def of(cls, frames: Frames, floor_db: float, enough_db: float) -> FloorState:
        """The state before the first frame.

        Parameters
        ----------
        floor_db
            Lowest gain in dB, -40 to 0.
        enough_db
            Ratio of speech to noise in dB, 0 to 60, beyond which noise is not lowered.

        Raises
        ------
        ValueError
            A parameter is out of its range.
        """
        if not _DEEPEST_DB <= floor_db <= 0.0:
            raise ValueError(f"floor_db: {_DEEPEST_DB:g} to 0 wanted, got {floor_db:g}")
        if not 0.0 <= enough_db <= _MOST_ENOUGH_DB:
            raise ValueError(f"enough_db: 0 to {_MOST_ENOUGH_DB:g} wanted, got {enough_db:g}")
        return cls(
            deepest_ln=floor_db * math.log(10) / 20,
            enough_ln=enough_db * math.log(10) / 10,
            onset=3.0,
            memory=frames.count(3.2),
            longest=frames.count(1.28),
        )


class Kernel:
    """A gain on the spectra of one channel, in C: ``cc_<name>_new``, ``_free``, ``_prime`` and ``_run``."""

    def __init__(self, name: str, frames: Frames, settings: ctypes.Structure) -> None:
        new, free, self._prime, self._run = (
            getattr(library(), f"cc_{name}_{verb}") for verb in ("new", "free", "prime", "run")
        )
        new.restype = ctypes.c_void_p
        new.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]
        free.restype, free.argtypes = None, [ctypes.c_void_p]
        self._prime.restype, self._prime.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
        self._run.restype = None
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
        tables = (frames.window(), frames.twiddles(), frames.unpack())
        addresses = (table.ctypes.data for table in tables)
        self._state = new(frames.size, *addresses, ctypes.addressof(settings))
        if not self._state:
            raise MemoryError(f"no memory for the state of {name}")
        weakref.finalize(self, free, self._state)

    def prime(self, samples: Samples, frames: int) -> None:
        """Learn the noise from frames that ``run`` will get; they begin a hop apart."""
        self._prime(self._state, samples.ctypes.data, frames)

    def run(self, samples: Samples, cleaned: Samples, frames: int) -> None:
        """Write ``frames`` hops, shape (frames * hop,), which lag by a frame less a hop."""
        self._run(self._state, samples.ctypes.data, cleaned.ctypes.data, frames)


class _Channel:
    """Carries one channel through a kernel: cuts frames, and takes the lag out.

    The kernel hears 1.5 s of sound before it cleans them, so that the noise is known when the first word is said.
    Digital silence before the first sound goes through at once.
    """

    def __init__(self, frames: Frames, kernel: Kernel) -> None:
        self._frames = frames
        self._kernel = kernel
        self._lag = frames.size - frames.hop
        self._waiting: list[Samples] = [np.zeros(self._lag, dtype=np.float32)]
        self._count = self._lag
        self._wanted = frames.size
        self._primed = False
        self._to_drop = self._lag
        self._to_give = 0

    def push(self, samples: Samples) -> Samples:
        """Take samples, shape (n,); give those that are done."""
        self._to_give += samples.size
        self._take(samples.copy())
        if self._count < self._wanted:
            return np.empty(0, dtype=np.float32)
        return self._cleaned(self._ready())

    def finish(self) -> Samples:
        """Give the rest."""
        self._take(np.zeros(self._frames.size, dtype=np.float32))
        whole = self._whole()
        if not self._primed:
            self._kernel.prime(self._pending(), whole)
        rest = self._to_give
        return self._cleaned(whole)[:rest]

    def _take(self, samples: Samples) -> None:
        self._waiting.append(samples)
        self._count += samples.size

    def _pending(self) -> Samples:
        if len(self._waiting) > 1:
            self._waiting = [np.concatenate(self._waiting)]
        return self._waiting[0]

    def _whole(self) -> int:
        """How many whole frames are pending."""
        return (self._count - self._lag) // self._frames.hop

    def _ready(self) -> int:
        """How many of the pending frames may be cleaned; until the noise is learnt, those of digital silence."""
        whole = self._whole()
        if self._primed:
            return whole
        heard = np.flatnonzero(self._pending())
        if heard.size == 0:
            return whole
        first = max(0, (int(heard[0]) - self._lag) // self._frames.hop)
        ahead = first + self._frames.count(_AHEAD_S)
        if whole < ahead:
            self._wanted = (ahead - first) * self._frames.hop + self._lag
            return min(first, whole)
        self._kernel.prime(self._pending(), ahead)
        self._primed = True
        self._wanted = self._frames.size
        return whole

    def _cleaned(self, frames: int) -> Samples:
        done = frames * self._frames.hop
        cleaned: Samples = np.empty(done, dtype=np.float32)
        if frames:
            pending = self._pending()
            self._kernel.run(pending, cleaned, frames)
            self._waiting = [pending[done:].copy()]
            self._count -= done
        drop = min(self._to_drop, done)
        self._to_drop -= drop
        self._to_give -= done - drop
        return cleaned[drop:]


class SpectralFilter:
    """A filter (``dsp.streams.Filter``) of one kernel for each channel, which hear nothing of each other.

    Up to 1.5 s are held back until a channel's noise is learnt, a frame from then on.
    """

    def __init__(self, frames: Frames, kernels: list[Kernel]) -> None:
        self._channels = [_Channel(frames, kernel) for kernel in kernels]
        self._early: list[Samples] = [np.empty(0, dtype=np.float32) for _ in kernels]

    def push(self, block: Samples) -> Samples:
        """Take the next frames, shape (frames, channels); give those that are done in all channels."""
        if block.shape != (len(block), len(self._channels)):
            raise ValueError(f"block: shape (frames, {len(self._channels)}) wanted, got {block.shape}")
        return self._joined([channel.push(block[:, i]) for i, channel in enumerate(self._channels)])

    def finish(self) -> Samples:
        """Give the frames that were held back, shape (frames, channels)."""
        return self._joined([channel.finish() for channel in self._channels])

    def _joined(self, done: list[Samples]) -> Samples:
        """What all channels have: one may be held back for longer than another."""
        parts = [
            np.concatenate(pair) if pair[0].size else pair[1] for pair in zip(self._early, done, strict=True)
        ]
        frames = min((part.size for part in parts), default=0)
        joined = np.empty((frames, len(parts)), dtype=np.float32, order="F")
        for index, part in enumerate(parts):
            joined[:, index] = part[:frames]
        self._early = [part[frames:] for part in parts]
        return joined
