"""One decision of speech against noise, on frames of 20 ms; every statistic that needs one takes this.

Energy alone decides, in the manner of ITU-T P.56, which averages the power of active speech only, with two changes
for noisy telephone calls. The noise is found by minimum statistics (R. Martin, IEEE Trans. Speech and Audio
Processing 9(5), 2001): speech leaves gaps, so the median over time of the short-term minima is the noise. And the
threshold follows from that noise and from the loudest speech, whichever asks for more, where P.56 has a fixed margin
below the active level.

On speech of known level in nine kinds of noise (telephone band, 54 calls at each ratio) the noise comes out within
1.2 dB of the median frame of what was mixed, but for one that is itself in bursts. The speech level comes out high
where its softer frames drown: by up to 1.1 dB at 20 dB, 1.9 dB at 15 dB, 3.1 dB at 10 dB, 5.2 dB at 5 dB. A lower
threshold would find more of them, and speech in the noise of a car in which nobody speaks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor, log10
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

FRAME_S: Final = 0.02
CLEAN_SNR_DB: Final = 38.0
"""Speech that lies so far above its noise is clean: to denoise it only takes from the speech."""
_SILENCE: Final = 10**-9.6  # -96 dB, below the last of 16 bits: nothing is there
_SMOOTHED_FRAMES: Final = 5  # 100 ms, so that a minimum is no accident of one frame
_WINDOW_FRAMES: Final = 75  # 1.5 s hold a gap between words
_MEDIAN_WINDOWS: Final = 21  # half a minute: noise changes within a call, and speech leaves gaps
_ABOVE_NOISE_DB: Final = 6.0
_BELOW_LOUD_DB: Final = 25.0
_LOUD_PERCENTILE: Final = 95
_SHORTEST_FRAMES: Final = 3  # what lasts less than 60 ms is a click
_GUARD_FRAMES: Final = 3  # soft beginnings and ends of words are neither speech nor noise
_FEWEST_NOISE_FRAMES: Final = 5
_WINDOWS_AT_ONCE: Final = 256  # the logarithms of twelve hours need not stand side by side


@dataclass(frozen=True, eq=False)
class Decision:
    """Which frames of 20 ms of one channel are what; whole frames only, all of shape (frames,).

    Frames in a pause are neither speech nor noise, nor are those just before and after speech, nor what lies before the
    first sound and after the last: a recorder that runs before the line is open says nothing about the line.
    """

    power: NDArray[np.float32]
    """Mean square around the mean; 0 in a pause."""
    speech: NDArray[np.bool_]
    """Somebody speaks."""
    noise: NDArray[np.bool_]
    """Nobody speaks; digital silence is among them."""
    samples: int
    """Samples in a frame."""

    def part(self, first: int, end: int) -> Decision:
        """Give the decision about what lies between two samples; the first is a multiple of the frame's."""
        if first % self.samples:
            raise ValueError(f"first: a multiple of {self.samples} wanted, got {first}")
        frames = slice(first // self.samples, end // self.samples)
        return Decision(self.power[frames], self.speech[frames], self.noise[frames], self.samples)


@dataclass(frozen=True)
class SpeechLevels:
    """Levels of speech and of the noise beneath it; None where there is none to measure."""

    speech_dbfs: float | None
    """Mean power of the speech frames with the noise under it, in dB below full scale."""
    noise_dbfs: float | None
    """Median power of the noise frames, in dB below full scale."""
    speech_s: float
    """Seconds of speech."""

    @property
    def snr_db(self) -> float | None:
        """Speech above noise in dB."""
        if self.speech_dbfs is None or self.noise_dbfs is None:
            return None
        return self.speech_dbfs - self.noise_dbfs

    @property
    def is_clean(self) -> bool:
        """Whether there is no noise to speak of: none at all, or little enough under the speech."""
        return self.noise_dbfs is None or (self.snr_db is not None and self.snr_db >= CLEAN_SNR_DB)


def decide(power: NDArray[np.float32], counted: NDArray[np.bool_], samples: int) -> Decision:
    """Tell speech from noise in one channel.

    Parameters
    ----------
    power
        Mean square of each frame of 20 ms around its mean, full scale 1, shape (frames,). A constant offset is no
        sound; a frame holds a whole period of mains hum, which stays in.
    counted
        Frames outside the pauses, shape (frames,).
    samples
        Samples in a frame.
    """
    counted = _from_first_sound_to_last(power, counted)
    if counted.all():
        speech = _is_speech(power)
    else:
        speech = np.zeros(power.size, dtype=np.bool_)
        speech[counted] = _is_speech(power[counted])
    noise = _spread(speech, _GUARD_FRAMES)
    np.logical_not(noise, out=noise)
    noise &= counted
    return Decision(power, speech, noise, samples)


def speech_levels(decision: Decision) -> SpeechLevels:
    """Read the levels of one channel."""
    frames = int(np.count_nonzero(decision.speech))
    total = float(decision.power.sum(where=decision.speech, dtype=np.float64))
    noise = decision.power[decision.noise]
    noise_power = float(np.median(noise, overwrite_input=True)) if noise.size >= _FEWEST_NOISE_FRAMES else 0.0
    return SpeechLevels(
        speech_dbfs=10 * log10(total / frames) if frames else None,
        noise_dbfs=10 * log10(noise_power) if noise_power > _SILENCE else None,
        speech_s=frames * FRAME_S,
    )


def _from_first_sound_to_last(power: NDArray[np.float32], counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out the digital silence at the ends: delaying a recording must change nothing but its time."""
    sounds = power > _SILENCE
    sounds &= counted
    kept = np.zeros_like(counted)
    if sounds.any():
        inner = slice(int(sounds.argmax()), sounds.size - int(sounds[::-1].argmax()))
        kept[inner] = counted[inner]
    return kept


def _is_speech(power: NDArray[np.float32]) -> NDArray[np.bool_]:
    speech = np.zeros(power.size, dtype=np.bool_)
    if not power.size:
        return speech
    windows = _windows(power.size)
    floor_power = _noise_floor(power, windows) * 10 ** (_ABOVE_NOISE_DB / 10)
    loud_power = _loud(power, windows, floor_power)
    if loud_power is None:
        return speech
    threshold = np.maximum(floor_power, loud_power * 10 ** (-_BELOW_LOUD_DB / 10))
    for part, part_threshold in _parts(windows, threshold):
        speech[part] = power[part] > part_threshold
    return _without_short(speech)


def _windows(frames: int) -> NDArray[np.intp]:
    """Where the windows of about 1.5 s begin, and where the last one ends, shape (windows + 1,)."""
    count = max(1, frames // _WINDOW_FRAMES)
    length, longer = divmod(frames, count)
    place = np.arange(count + 1)
    return place * length + np.minimum(place, longer)


def _parts(
    windows: NDArray[np.intp], thresholds: NDArray[np.float64]
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Cut the frames into parts of some windows; each with the threshold of every frame."""
    lengths = np.diff(windows)
    for first in range(0, lengths.size, _WINDOWS_AT_ONCE):
        last = min(first + _WINDOWS_AT_ONCE, lengths.size)
        yield (
            slice(int(windows[first]), int(windows[last])),
            np.repeat(thresholds[first:last], lengths[first:last]),
        )


def _loud(
    power: NDArray[np.float32], windows: NDArray[np.intp], floor_power: NDArray[np.float64]
) -> float | None:
    """Power of the loud frames: a percentile of those above the floor; None where there are none."""
    above = sum(
        int(np.count_nonzero(power[part] > part_floor)) for part, part_floor in _parts(windows, floor_power)
    )
    if not above:
        return None
    # The percentile lies between two frames. Only what can be one of them is kept.
    place = (above - 1) * _LOUD_PERCENTILE / 100
    keep = above - floor(place)
    loudest = np.zeros(0, dtype=np.float32)
    for part, part_floor in _parts(windows, floor_power):
        loudest = np.concatenate([loudest, power[part][power[part] > part_floor]])
        if loudest.size > keep:
            loudest = np.partition(loudest, loudest.size - keep)[-keep:]
    lower_db, upper_db = 10 * np.log10(np.sort(loudest)[[0, min(1, keep - 1)]].astype(np.float64))
    return float(10 ** ((lower_db + (place - floor(place)) * (upper_db - lower_db)) / 10))


def _noise_floor(power: NDArray[np.float32], windows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Noise power in each window: the median of the short-term minima of half a minute, shape (windows,)."""
    minima = np.empty(windows.size - 1)
    for first in range(0, minima.size, _WINDOWS_AT_ONCE):
        bounds = windows[first : first + _WINDOWS_AT_ONCE + 1]
        smoothed = _smoothed(power, int(bounds[0]), int(bounds[-1]))
        minima[first : first + bounds.size - 1] = np.minimum.reduceat(smoothed, bounds[:-1] - bounds[0])
    np.maximum(minima, _SILENCE, out=minima)
    if minima.size <= _MEDIAN_WINDOWS:
        return np.full(minima.size, 10 ** (float(np.median(np.log10(minima)))))
    around = np.pad(minima, _MEDIAN_WINDOWS // 2, mode="reflect")
    middle: NDArray[np.float64] = np.median(sliding_window_view(around, _MEDIAN_WINDOWS), axis=1)
    return middle


def _smoothed(power: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float64]:
    """Mean of each frame and its neighbours from ``begin`` to ``end``; beyond the ends the power is mirrored."""
    reach = _SMOOTHED_FRAMES // 2
    inside = power[max(begin - reach, 0) : end + reach].astype(np.float64)
    missing = (max(reach - begin, 0), max(end + reach - power.size, 0))
    around = np.pad(inside, missing, mode="symmetric")
    smoothed = around[: end - begin].copy()
    for away in range(1, 2 * reach + 1):
        smoothed += around[away : away + end - begin]
    smoothed /= _SMOOTHED_FRAMES
    return smoothed


def _without_short(speech: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out what lasts less than ``_SHORTEST_FRAMES``."""
    begins = speech.copy()
    for later in range(1, _SHORTEST_FRAMES):
        begins[:-later] &= speech[later:]
        begins[-later:] = False
    lasting = begins.copy()
    for later in range(1, _SHORTEST_FRAMES):
        lasting[later:] |= begins[:-later]
    return lasting


def _spread(speech: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Add the frames that are so near to a chosen one."""
    near = speech.copy()
    for away in range(1, frames + 1):
        near[away:] |= speech[:-away]
        near[:-away] |= speech[away:]
    return near
