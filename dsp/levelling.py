"""Gain and limiter: finds the gains after which the limited sound has the wanted loudness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import BLOCK_FRAMES, Samples
from dsp.limiter import FAST, SMOOTH, Ballistics, Limiter, threshold
from dsp.loudness import Energies, EnergyMeter, step_frames
from dsp.passing import Untouched, abreast
from dsp.report import ReportWarning
from dsp.stages.base import Audio, together
from dsp.stages.limit import LimitTruePeak
from dsp.stages.normalize import NormalizeLoudness
from dsp.streams import Filter
from dsp.true_peak import interpolator

_ROUNDS: Final = 12
_MISSED_LU: Final = 0.1
_CLOSE_ENOUGH_LU: Final = 0.005
# More gain than this, on top of what the loudness asks for, would only press the peaks flat.
_MOST_MAKE_UP_DB: Final = 12.0
_USUAL_SLOPE: Final = 0.7  # of loudness over gain, with the limiter at work
_NEAR_LU: Final = 0.08  # so near the target, a slope that was measured leads to within 0.01 LU of it
_STEPPED_OVER: Final = 8  # stretches of work with a shorter gap between them are done as one


def levelled(
    audio: Audio,
    energies: Energies,
    *,
    noisy: Sequence[bool],
    linked: bool,
    normalize: NormalizeLoudness | None,
    limit: LimitTruePeak | None,
) -> tuple[Filter, list[ReportWarning]]:
    """Give the filter that levels and limits, and what people should know of it.

    A limiter lowers the loudness again. So the whole is tried with a gain, in the samples, and the gain is
    corrected by a secant until the target is met within 0.01 LU or the gain has reached its bound.

    Parameters
    ----------
    audio
        What is levelled.
    energies
        Of the audio as it is.
    noisy
        Whether the noise of each channel hides what a fast limiter adds.
    linked
        Whether all channels get one gain, or each its own.
    normalize, limit
        The stages that the chain asks for.
    """
    gains_db = np.zeros(audio.channels)
    warnings = []
    limits = _limits(limit, noisy, audio.channels, linked=linked)
    if normalize is not None:
        groups = together(audio.channels, linked=linked)
        sound = _Sound(audio, energies, limits)
        for search in _solved(sound, groups, normalize):
            gains_db[list(search.channels)] = search.gain_db
            if search.missed:
                warnings.append(search.missed_warning(None if linked else search.channels[0]))
    gains = (10 ** (gains_db / 20)).astype(np.float32)
    if limits:
        return abreast([(group.channels, group.limiter(audio, gains)) for group in limits]), warnings
    return (Untouched(audio.channels) if (gains == 1).all() else _Gain(gains)), warnings


def _solved(sound: _Sound, groups: list[tuple[int, ...]], wanted: NormalizeLoudness) -> list[_Search]:
    searches = [_Search(group, sound.energies, wanted) for group in groups]
    for _ in range(_ROUNDS):
        if not any(search.goes_on for search in searches):
            break
        gains_db = np.zeros(len(sound.energies.steps))
        for search in searches:
            gains_db[list(search.channels)] = search.gain_db
        limited = sound.limited(gains_db)
        for search in searches:
            search.learn(limited)
    return searches


@dataclass(frozen=True)
class _Limit:
    """Channels that are limited by one gain curve."""

    channels: tuple[int, ...]
    ceiling_dbtp: float
    ballistics: Ballistics

    def limiter(self, audio: Audio, gains: NDArray[np.float32]) -> Limiter:
        """Make their limiter; ``gains`` are those of all channels."""
        return Limiter(
            audio.sample_rate_hz,
            gains[list(self.channels)].tolist(),
            ceiling_dbtp=self.ceiling_dbtp,
            ballistics=self.ballistics,
        )


def _limits(
    limit: LimitTruePeak | None, noisy: Sequence[bool], channels: int, *, linked: bool
) -> list[_Limit]:
    if limit is None:
        return []
    return [
        _Limit(
            group,
            limit.ceiling_dbtp,
            FAST
            if limit.speed == "fast" or (limit.speed == "auto" and all(noisy[index] for index in group))
            else SMOOTH,
        )
        for group in limit.groups(channels, linked=linked)
    ]


class _Gain:
    """Multiplies each channel by its gain."""

    def __init__(self, gains: NDArray[np.float32]) -> None:
        self._gains = gains

    def push(self, block: Samples) -> Samples:
        """See ``dsp.streams.Filter``."""
        return np.asfortranarray(block * self._gains)

    def finish(self) -> Samples:
        """See ``dsp.streams.Filter``."""
        return np.zeros((0, self._gains.size), dtype=np.float32)


class _Search:
    """The gain of one group of channels."""

    def __init__(self, channels: tuple[int, ...], energies: Energies, wanted: NormalizeLoudness) -> None:
        self.channels = channels
        self.gain_db = 0.0
        self.reached_lufs = energies.integrated_lufs(channels)
        self.goes_on = self.reached_lufs is not None
        self._wanted = wanted
        self._before: tuple[float, float] | None = None
        if self.reached_lufs is not None:
            missing_db = wanted.target_lufs - self.reached_lufs
            self._most_db = min(missing_db + _MOST_MAKE_UP_DB, wanted.max_gain_db)
            self.gain_db = min(missing_db, self._most_db)

    @property
    def missed(self) -> bool:
        """Whether the target was not met though there is a loudness."""
        return (
            self.reached_lufs is not None and abs(self.reached_lufs - self._wanted.target_lufs) > _MISSED_LU
        )

    def missed_warning(self, channel: int | None) -> ReportWarning:
        """Say why the target was missed."""
        why = (
            f"a chain may raise it by {self._wanted.max_gain_db:g} dB at most (max_gain_db)"
            if self.gain_db >= self._wanted.max_gain_db
            else "its peaks are so far above its speech that more gain would press them flat"
        )
        return ReportWarning(
            code="target_missed",
            channel=channel,
            message=f"Levelled to {self.reached_lufs:.1f} LUFS instead of {self._wanted.target_lufs:g}: {why}.",
        )

    def learn(self, limited: Energies) -> None:
        """Correct the gain by what came of it."""
        if not self.goes_on:
            return
        found_lufs = limited.integrated_lufs(self.channels)
        if found_lufs is None:  # turned down until nothing passes the gate
            self.goes_on = False
            return
        self.reached_lufs = found_lufs
        missing_lu = self._wanted.target_lufs - found_lufs
        slope = _USUAL_SLOPE
        if self._before is not None and self._before[0] != self.gain_db:
            slope = (found_lufs - self._before[1]) / (self.gain_db - self._before[0])
        # Limiting takes back most of the gain at worst, and gives none of its own.
        next_db = min(self.gain_db + missing_lu / min(max(slope, 0.1), 1.0), self._most_db)
        if abs(missing_lu) < _CLOSE_ENOUGH_LU or next_db == self.gain_db:
            self.goes_on = False
            return
        if self._before is not None and abs(missing_lu) < _NEAR_LU:
            self.goes_on = False
            self.reached_lufs = found_lufs + slope * (next_db - self.gain_db)
        self._before = self.gain_db, found_lufs
        self.gain_db = next_db


class _Sound:
    """Audio that can be heard through the limiter at any gain."""

    def __init__(self, audio: Audio, energies: Energies, limits: Sequence[_Limit]) -> None:
        self.energies = energies
        self._audio = audio
        self._limits = limits
        self._known: dict[_Limit, tuple[bytes, NDArray[np.float64]]] = {}

    def limited(self, gains_db: NDArray[np.float64]) -> Energies:
        """Energies after the gain of each channel, shape (channels,), and the limiter."""
        gains = (10 ** (gains_db / 20)).astype(np.float32)
        steps = self.energies.steps * gains[:, None].astype(np.float64) ** 2
        for group in self._limits:
            own, places = gains[list(group.channels)].tobytes(), list(group.channels)
            if self._known.get(group, (b"",))[0] != own:
                self._known[group] = own, self._through_limiter(group, gains, steps[places])
            steps[places] = self._known[group][1]
        return Energies(steps, self.energies.counted, self.energies.peaks)

    def _through_limiter(
        self, group: _Limit, gains: NDArray[np.float32], steps: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Put what the limiter leaves into the steps that it touches, shape (channels of the group, steps)."""
        rate_hz, step = self._audio.sample_rate_hz, step_frames(self._audio.sample_rate_hz)
        places = list(group.channels)
        reach = (self.energies.peaks[places] * gains[places, None]).max(axis=0)
        touched = _widened(
            reach * interpolator(rate_hz).bound > threshold(group.ceiling_dbtp, group.ballistics)
        )
        for first, end in _runs(touched):
            # Two steps earlier: the K filter has settled when the first touched one begins.
            early = max(first - 2, 0)
            meter = EnergyMeter(rate_hz, len(places))
            # One pass of it: what further ones take away is some thousandths of an LU.
            limiter = replace(group, ballistics=replace(group.ballistics, passes=1)).limiter(
                self._audio, gains
            )
            for start in range(early * step, end * step, BLOCK_FRAMES):
                frames = min(BLOCK_FRAMES, end * step - start)
                meter.push(limiter.push(self._audio.read(places, start, frames)))
            meter.push(limiter.finish())
            steps[:, first:end] = meter.finish().steps[:, first - early :]
        return steps


def _widened(loud: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Steps that a peak in a loud one can change: those beside it, and one more behind, where the filter rings."""
    widened = loud.copy()
    for shift in (1, 2):
        widened[shift:] |= loud[:-shift]
    widened[:-1] |= loud[1:]
    return widened


def _runs(touched: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Stretches of touched steps, with those that are close together made one."""
    places = np.flatnonzero(touched)
    if not places.size:
        return
    breaks = np.flatnonzero(np.diff(places) > _STEPPED_OVER)
    starts = places[np.concatenate(([0], breaks + 1))]
    ends = places[np.concatenate((breaks, [places.size - 1]))] + 1
    yield from zip(starts.tolist(), ends.tolist(), strict=True)
