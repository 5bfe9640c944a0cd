"""Measures all of a channel that needs no loudness filter: speech, noise, clipping, offset, dropouts; in one pass.

A kernel (``native/levels.c``) reads each sample once and keeps a power for each frame of 20 ms and some sums. At the
end one decision of speech against noise is taken from the powers (``dsp.speech``), and every figure that needs one
takes that.

The active speech level is that of Recommendation ITU-T P.56 (12/2011), method B: an envelope by two exponential
averages of 30 ms over the magnitude, counted as active above thresholds of 2^-15 to 2^-1 of full scale and 200 ms
after, and the level at which the mean power of the active time lies 15.9 dB above the threshold. Its input filter
(clause 10.2) is left out: what a telephone line carries has passed one.
"""

from __future__ import annotations

import ctypes
import weakref
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil, exp, log10
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Pause, Samples
from dsp.native import library
from dsp.speech import FRAME_S, Decision, SpeechLevels, decide, speech_levels

_CLIPPED_FROM: Final = 0.97  # mu-law reaches 0.980 and A-law 0.984 of full scale
# P.56, clause 8.3.
_TIME_CONSTANT_S: Final = 0.03
_HANGOVER_S: Final = 0.2
_MARGIN_DB: Final = 15.9
_THRESHOLDS: Final = 15
_DROPOUT_S: Final = (
    0.004  # the shortest that is heard as a gap; voices have no such run of zeros within a vowel
)
_LONGEST_DROPOUT_S: Final = 1.0  # whoever is not heard for longer is on hold, or has the microphone off
_EDGE_BELOW_SPEECH_DB: Final = 20.0  # a voice fades into a pause; what is lost is cut off


@dataclass(frozen=True)
class ChannelLevels:
    """What was measured on one channel outside the pauses; None where it is not defined."""

    decision: Decision
    """Speech against noise in frames of 20 ms: all that needs to know takes this."""
    speech: SpeechLevels
    """Levels of speech and noise by that decision."""
    sample_peak: float
    """Greatest magnitude, full scale 1."""
    clipped_samples: int
    """Samples at the greatest magnitude, where that is near full scale, in runs of two or more of one sign."""
    clipping_runs: int
    """Such runs."""
    dc_offset: float | None
    """Mean of all samples, full scale 1; None: no samples."""
    dropouts: int
    """Runs of zeros of 4 ms to 1 s that cut into speech, at most some 260,000."""
    dropout_s: float
    """Seconds in dropouts."""
    frames: int
    """Frames of 20 ms outside the pauses."""
    silence_share: float | None
    """Share of those in which nobody speaks, 0 to 1; None: there are none."""
    active_speech_level_dbfs: float | None
    """Active speech level by P.56 in dB below full scale; None: nothing, or too little above the lowest threshold."""
    activity_factor: float | None
    """Share of the time that is active by P.56, 0 to 1; None as the level."""


class _Totals(ctypes.Structure):
    _fields_ = (
        ("counted", ctypes.c_double),
        ("sum", ctypes.c_double),
        ("squares", ctypes.c_double),
        ("peak", ctypes.c_double),
        ("clipped", ctypes.c_double),
        ("clipping_runs", ctypes.c_double),
        ("active", ctypes.c_double * _THRESHOLDS),
    )


_GAP: Final = np.dtype([("begin", np.int64), ("end", np.int64), ("edge", np.float64)])


class LevelMeter:
    """Measures the channels of a stream, block by block; how it is cut into blocks changes nothing.

    Parameters
    ----------
    sample_rate_hz
        Frames a second.
    channels
        Channels side by side.
    pauses
        Stretches that count nowhere. A frame of 20 ms that touches one is neither speech nor noise; all that is
        counted by the sample leaves out the samples of the pause alone.
    """

    def __init__(self, sample_rate_hz: int, channels: int, pauses: tuple[Pause, ...] = ()) -> None:
        self._pauses = _merged(pauses, sample_rate_hz)
        self._samples_per_frame = round(FRAME_S * sample_rate_hz)
        self._rate_hz = sample_rate_hz
        self._channels = [
            _Channel(sample_rate_hz, self._samples_per_frame, self._pauses) for _ in range(channels)
        ]

    def push(self, block: Samples) -> None:
        """Take the next frames, shape (frames, channels)."""
        for index, channel in enumerate(self._channels):
            channel.push(np.ascontiguousarray(block[:, index], dtype=np.float32))

    def finish(self) -> tuple[ChannelLevels, ...]:
        """Give what was measured on each channel. Nothing is pushed after this."""
        counted = self._counted(self._channels[0].frames) if self._channels else np.ones(0, dtype=np.bool_)
        return tuple(self._measured(channel, counted) for channel in self._channels)

    def _measured(self, channel: _Channel, counted: NDArray[np.bool_]) -> ChannelLevels:
        totals = channel.totals()
        decision = decide(channel.power(), counted, self._samples_per_frame)
        speech = speech_levels(decision)
        dropout_samples = _dropouts(channel.gaps(), decision, speech, self._rate_hz)
        level_dbfs, activity = _active_speech(totals)
        frames = int(np.count_nonzero(counted))
        return ChannelLevels(
            decision=decision,
            speech=speech,
            sample_peak=totals.peak,
            clipped_samples=int(totals.clipped),
            clipping_runs=int(totals.clipping_runs),
            dc_offset=totals.sum / totals.counted if totals.counted else None,
            dropouts=dropout_samples.size,
            dropout_s=int(dropout_samples.sum()) / self._rate_hz,
            frames=frames,
            silence_share=1 - int(np.count_nonzero(decision.speech)) / frames if frames else None,
            active_speech_level_dbfs=level_dbfs,
            activity_factor=activity,
        )

    def _counted(self, frames: int) -> NDArray[np.bool_]:
        """Which frames do not touch a pause, shape (frames,)."""
        counted = np.ones(frames, dtype=np.bool_)
        for begin, end in self._pauses:
            counted[begin // self._samples_per_frame : -(-end // self._samples_per_frame)] = False
        return counted


def silence_share(channels: Sequence[ChannelLevels]) -> float | None:
    """Share of the frames in which nobody speaks in any channel, 0 to 1; None: there are none that count."""
    if not channels or not channels[0].frames:
        return None
    speaks = channels[0].decision.speech.copy()
    for channel in channels[1:]:
        speaks |= channel.decision.speech
    return 1 - int(np.count_nonzero(speaks)) / channels[0].frames


class _Channel:
    """One channel in the kernel."""

    def __init__(self, sample_rate_hz: int, samples_per_frame: int, pauses: NDArray[np.int64]) -> None:
        self._kernel = _kernel()
        self._frame = samples_per_frame
        self._state = ctypes.c_void_p(
            self._kernel.cc_levels_new(
                samples_per_frame,
                round(_DROPOUT_S * sample_rate_hz),
                exp(-1 / (_TIME_CONSTANT_S * sample_rate_hz)),
                ceil(_HANGOVER_S * sample_rate_hz),
                _CLIPPED_FROM,
                pauses.ctypes.data,
                len(pauses),
            )
        )
        if not self._state:
            raise MemoryError("no memory for a level meter")
        weakref.finalize(self, self._kernel.cc_levels_free, self._state)
        # Grows where it stands, so that the hours before are not there twice.
        self._power = array("f")

    def push(self, samples: Samples) -> None:
        power = np.empty(samples.size // self._frame + 1, dtype=np.float32)
        frames = self._kernel.cc_levels_push(
            self._state, samples.ctypes.data, samples.size, power.ctypes.data
        )
        self._power.frombytes(power[:frames].tobytes())

    @property
    def frames(self) -> int:
        return len(self._power)

    def totals(self) -> _Totals:
        totals = _Totals()
        self._kernel.cc_levels_finish(self._state, ctypes.byref(totals))
        return totals

    def power(self) -> NDArray[np.float32]:
        return np.frombuffer(self._power, dtype=np.float32) if self._power else np.zeros(0, dtype=np.float32)

    def gaps(self) -> NDArray[np.void]:
        gaps = np.zeros(self._kernel.cc_levels_gaps(self._state, None), dtype=_GAP)
        self._kernel.cc_levels_gaps(self._state, gaps.ctypes.data)
        return gaps


def _merged(pauses: tuple[Pause, ...], sample_rate_hz: int) -> NDArray[np.int64]:
    """Begin and end of the pauses in samples, in order, none touching the next; shape (pauses, 2)."""
    longest = float(np.iinfo(np.int64).max // 2**16)
    merged: list[list[int]] = []
    for pause in sorted(pauses, key=lambda pause: pause.start_s):
        begin, end = (
            min(max(seconds, 0.0) * sample_rate_hz, longest) for seconds in (pause.start_s, pause.end_s)
        )
        if merged and int(begin) <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], ceil(end))
        elif ceil(end) > int(begin):
            merged.append([int(begin), ceil(end)])
    return np.array(merged, dtype=np.int64).reshape(-1, 2)


def _dropouts(
    gaps: NDArray[np.void], decision: Decision, speech: SpeechLevels, sample_rate_hz: int
) -> NDArray[np.int64]:
    """Length in samples of each gap that cuts into speech: speech near both ends, and loud to its very edges.

    Of 541 losses of 20 to 60 ms at random places in telephone speech it finds 447; of 1,700 gaps that noise gates and
    the quiet steps of mu-law leave, none.
    """
    length: NDArray[np.int64] = gaps["end"] - gaps["begin"]
    if speech.speech_dbfs is None:
        return length[:0]
    inside = ~(
        decision.noise[gaps["begin"] // decision.samples] | decision.noise[gaps["end"] // decision.samples]
    )
    cut = gaps["edge"] > 10 ** ((speech.speech_dbfs - _EDGE_BELOW_SPEECH_DB) / 10)
    chosen: NDArray[np.int64] = length[inside & cut & (length <= _LONGEST_DROPOUT_S * sample_rate_hz)]
    return chosen


def _active_speech(totals: _Totals) -> tuple[float | None, float | None]:
    """Active speech level in dB below full scale and activity factor: P.56, clause 8.2."""
    below: tuple[float, float] | None = None  # active level and margin at the threshold before
    for exponent, active in zip(range(-_THRESHOLDS, 0), totals.active, strict=True):
        if not active:
            break
        level_db = 10 * log10(totals.squares / active)
        margin_db = level_db - 20 * log10(2.0) * exponent
        if margin_db <= _MARGIN_DB:
            if below is None:
                return None, None
            share = (_MARGIN_DB - below[1]) / (margin_db - below[1])
            level_db = below[0] + share * (level_db - below[0])
            long_term_db = 10 * log10(totals.squares / totals.counted)
            return level_db, min(1.0, 10 ** ((long_term_db - level_db) / 10))
        below = level_db, margin_db
    return None, None


@cache
def _kernel() -> ctypes.CDLL:
    kernel = library()
    kernel.cc_levels_new.restype = ctypes.c_void_p
    kernel.cc_levels_new.argtypes = (
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_double,
        ctypes.c_int64,
        ctypes.c_double,
        ctypes.c_void_p,
        ctypes.c_int64,
    )
    kernel.cc_levels_free.restype = None
    kernel.cc_levels_free.argtypes = (ctypes.c_void_p,)
    kernel.cc_levels_push.restype = ctypes.c_int64
    kernel.cc_levels_push.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    kernel.cc_levels_finish.restype = None
    kernel.cc_levels_finish.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    kernel.cc_levels_gaps.restype = ctypes.c_int64
    kernel.cc_levels_gaps.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    return kernel
