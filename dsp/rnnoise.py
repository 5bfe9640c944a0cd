"""The denoiser `rnnoise`: RNNoise 0.2 rebuilt natively for telephone rates. See docs/decisions/rnnoise.md."""

from __future__ import annotations

import ctypes
import weakref
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.native import library
from dsp.rnnoise_model import RnNoiseUnavailable, model
from dsp.rnnoise_rates import at_rate
from dsp.rnnoise_tables import BANDS, FULL_RATE_HZ, NATIVE_RATES_HZ, tables
from dsp.streams import Filter

__all__ = ["LEVELS", "RnNoise", "RnNoiseUnavailable", "band_gains", "levels"]

FRAMES = 32
"""Frames of 10 ms that the kernels take at once; what comes out is this many and two more behind."""
CHANNELS = 8
LEVELS = ("plain", "avx2", "avx_vnni", "avx512")
"""Levels of processor that the kernels are compiled for, lowest first; all give the same bits."""


@cache
def _kernels() -> ctypes.CDLL:
    kernels = library()
    kernels.cc_rnnoise_new.restype = ctypes.c_void_p
    kernels.cc_rnnoise_new.argtypes = (
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
        *(ctypes.c_float, ctypes.c_int),
    )
    kernels.cc_rnnoise_free.restype = None
    kernels.cc_rnnoise_free.argtypes = (ctypes.c_void_p,)
    kernels.cc_rnnoise_run.restype = None
    kernels.cc_rnnoise_run.argtypes = (
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    kernels.cc_rnnoise_gains.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    kernels.cc_rnnoise_has.argtypes = (ctypes.c_int,)
    return kernels


def levels() -> list[str]:
    """Levels that this processor has, lowest first."""
    return [name for index, name in enumerate(LEVELS) if _kernels().cc_rnnoise_has(index)]


class _Native:
    """The denoiser at a rate that has its own tables."""

    def __init__(
        self, sample_rate_hz: int, channels: int, mix: float, level: str | None, *, pitch_filter: bool
    ) -> None:
        self._kernels = _kernels()
        self._level = LEVELS.index(level or levels()[-1])
        self._keep = (model(), tables(sample_rate_hz))
        self._stream = self._kernels.cc_rnnoise_new(
            *(ctypes.addressof(part) for part in self._keep), channels, mix, pitch_filter
        )
        if not self._stream:
            raise MemoryError("no memory for a denoiser")
        weakref.finalize(self, self._kernels.cc_rnnoise_free, self._stream)
        hop = self._keep[1].hop
        self._room = np.zeros((FRAMES * hop, channels), np.float32, order="F")
        self._filled = 0
        self._behind = (FRAMES + 2) * hop
        self._due = 0

    def push(self, block: Samples) -> Samples:
        """Take frames; give those that are done."""
        self._due += len(block)
        done = []
        at = 0
        while at < len(block):
            part = block[at : at + len(self._room) - self._filled]
            self._room[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            at += len(part)
            if self._filled == len(self._room):
                done.append(self._run())
        return self._joined(done)

    def finish(self) -> Samples:
        """Give what was held back."""
        done = []
        while self._due > 0:
            self._room[self._filled :] = 0
            done.append(self._run())
        return self._joined(done)

    def network(self) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Of the last frames that the kernels took of the first channel: which were not silent, and their gains."""
        gains = np.empty((FRAMES, BANDS), np.float32)
        active = np.empty(FRAMES, np.bool_)
        count = self._kernels.cc_rnnoise_gains(self._stream, 0, gains.ctypes.data, active.ctypes.data)
        return active, gains[:count]

    def _run(self) -> Samples:
        out = np.empty_like(self._room)
        self._kernels.cc_rnnoise_run(
            self._stream, self._level, self._room.ctypes.data, out.ctypes.data, len(self._room)
        )
        self._filled = 0
        late = min(self._behind, len(out))
        self._behind -= late
        out = out[late:][: self._due]
        self._due -= len(out)
        return out

    def _joined(self, done: list[Samples]) -> Samples:
        if len(done) == 1:
            return done[0]
        return np.concatenate([np.empty((0, self._room.shape[1]), np.float32), *done])


class RnNoise:
    """RNNoise on every channel of a stream, each on its own; a :class:`dsp.streams.Filter`.

    Output is ``(1 - mix) * denoised + mix * original``, in time with the input. RNNoise suppresses deeply; what is kept
    of the original makes that harmless.

    Parameters
    ----------
    sample_rate_hz
        8000 to 48000. 8, 16 and 48 kHz are native; any other is resampled to the next of them and back.
    channels
        1 to 8.
    mix
        Share of the original that is kept, 0 to 1.
    pitch_filter
        Whether the pitch filter of RNNoise's own loop is run too. It gains 0.03 of PESQ and costs 0.5 dB of SI-SDR.
    level
        One of :data:`LEVELS` that this processor has; the highest by default. The result does not depend on it.

    Raises
    ------
    RnNoiseUnavailable
        The weights are not there, or are not those of RNNoise 0.2.
    ValueError
        A parameter is out of its range.
    """

    def __init__(
        self,
        sample_rate_hz: int,
        channels: int,
        *,
        mix: float = 0.2,
        pitch_filter: bool = False,
        level: str | None = None,
    ) -> None:
        lowest_hz = NATIVE_RATES_HZ[0]
        if not (lowest_hz <= sample_rate_hz <= FULL_RATE_HZ and 1 <= channels <= CHANNELS and 0 <= mix <= 1):
            raise ValueError(
                f"sample_rate_hz must be {lowest_hz} to {FULL_RATE_HZ}, channels 1 to {CHANNELS} and mix 0 to 1, "
                f"not {sample_rate_hz}, {channels} and {mix}"
            )
        if level is not None and level not in levels():
            raise ValueError(f"this processor has {', '.join(levels())}, not {level}")
        self._filter: Filter
        if sample_rate_hz in NATIVE_RATES_HZ:
            self._filter = _Native(sample_rate_hz, channels, mix, level, pitch_filter=pitch_filter)
        else:
            inner_hz = next(rate for rate in NATIVE_RATES_HZ if rate >= sample_rate_hz)
            inner = _Native(inner_hz, channels, 0.0, level, pitch_filter=pitch_filter)
            self._filter = at_rate(inner, sample_rate_hz, inner_hz, channels, mix)

    def push(self, block: Samples) -> Samples:
        """Take the next frames, shape (frames, channels); give those that are done, up to 0.7 s later."""
        return self._filter.push(block)

    def finish(self) -> Samples:
        """Give the frames that were held back."""
        return self._filter.finish()


def band_gains(
    channel: Samples, sample_rate_hz: int, *, level: str | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Give what the network says of one channel, to compare it with the library's.

    Parameters
    ----------
    channel
        Shape (samples,).
    sample_rate_hz
        8000, 16000 or 48000.

    Returns
    -------
    tuple
        Gains before smoothing, shape (frames of 10 ms, 32 bands), 1 where the network is not asked; and whether it is,
        shape (frames,): it is not where there is silence.
    """
    hop = sample_rate_hz // 100
    through = _Native(sample_rate_hz, 1, 0.0, level, pitch_filter=False)
    frames = len(channel) // hop
    calls = -(-(frames + 1) // FRAMES)  # the kernels are a frame behind
    padded = np.pad(channel, (0, max(0, calls * FRAMES * hop - len(channel))))
    gains = np.ones((calls * FRAMES, BANDS), np.float32)
    asked = np.zeros(calls * FRAMES, np.bool_)
    for start in range(0, calls * FRAMES, FRAMES):
        through.push(padded[start * hop : (start + FRAMES) * hop, None])
        span = slice(start, start + FRAMES)
        asked[span], found = through.network()
        gains[span][asked[span]] = found
    return gains[1 : frames + 1], asked[1 : frames + 1]
