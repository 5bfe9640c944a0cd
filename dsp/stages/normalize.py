"""Loudness normalization: a constant gain that meets the target after the limiter."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

import numpy as np
from pydantic import Field

from dsp.audio import AudioBuffer, Samples
from dsp.loudness import Weighted, weighted
from dsp.report import ReportWarning
from dsp.stages.base import Context, Stage
from dsp.stages.limit import LimitTruePeak, Reduction, reach, reduction

_ROUNDS: Final = 10
_CLOSE_ENOUGH_LU: Final = 0.005
_MISSED_LU: Final = 0.1
# More gain than this, on top of what the loudness asks for, would only press the peaks flat.
_MOST_MAKE_UP_DB: Final = 12.0
_USUAL_MAKE_UP_DB: Final = 3.0


class NormalizeLoudness(Stage):
    """Bring each channel (independent) or the programme (linked) to a loudness.

    A limiter that follows lowers the loudness again; the gain is found with it in the loop, so that the target is
    met after it. Where loudness is undefined (BS.1770-5: under 400 ms, or below -70 LUFS) the level is kept.
    """

    name: ClassVar[str] = "normalize"

    target_lufs: Annotated[float, Field(ge=-40.0, le=-9.0)] = -16.0
    """Integrated loudness to reach in LUFS (ITU-R BS.1770-5), -40 to -9."""
    max_gain_db: Annotated[float, Field(ge=0.0, le=60.0)] = 30.0
    """Most amplification in dB, 0 to 60: a silent party stays silent."""

    def process(self, audio: AudioBuffer, context: Context) -> AudioBuffer:
        """Apply the gain that meets the target after the following limiter, if any."""
        following = context.following[0] if context.following else None
        limiter = following if isinstance(following, LimitTruePeak) else None
        samples = audio.samples.copy()
        for index, group in enumerate(context.groups(audio.channels)):
            part = audio.samples[:, group]
            sound = weighted(part, audio.sample_rate_hz, context.pauses)
            found_lufs = sound.integrated_lufs()
            if found_lufs is None:
                continue
            search = _Search(part, sound, limiter, self)
            gain_db, reached_lufs = search.run(self.target_lufs - found_lufs)
            gain = np.float32(10 ** (gain_db / 20))
            samples[:, group] *= gain
            if limiter is not None:
                context.reached[index] = search.reached * gain
            if abs(reached_lufs - self.target_lufs) > _MISSED_LU:
                channel = index if context.channels == "independent" else None
                context.warnings.append(self._missed(channel, gain_db, reached_lufs))
        return audio.with_samples(samples)

    def _missed(self, channel: int | None, gain_db: float, reached_lufs: float) -> ReportWarning:
        why = (
            f"a chain may raise it by {self.max_gain_db:g} dB at most (max_gain_db)"
            if gain_db >= self.max_gain_db
            else "its peaks are so far above its speech that more gain would press them flat"
        )
        return ReportWarning(
            code="target_missed",
            channel=channel,
            message=f"Levelled to {reached_lufs:.1f} LUFS instead of {self.target_lufs:g}: {why}.",
        )


class _Search:
    """Finds the gain after which the limited sound has the wanted loudness.

    The limiter's gain moves slowly against the K filter's response, so the weighted power of the limited sound is
    taken as that of the sound times the limiter's gain squared: within 0.005 LU on calls, without filtering again.
    """

    def __init__(
        self, samples: Samples, sound: Weighted, limiter: LimitTruePeak | None, wanted: NormalizeLoudness
    ) -> None:
        self._samples = samples
        self._sound = sound
        self._limiter = limiter
        self._wanted = wanted
        self._known_to_db = -np.inf
        self.reached = np.empty(0, dtype=np.float32)

    def run(self, gain_db: float) -> tuple[float, float]:
        """Answer the gain in dB and the loudness that it leads to, in LUFS, from a first guess at the gain."""
        most_db = min(gain_db + _MOST_MAKE_UP_DB, self._wanted.max_gain_db)
        gain_db = min(gain_db, most_db)
        slope, reached_lufs = 1.0, self._loudness(gain_db)
        for _ in range(_ROUNDS):
            missing_lu = self._wanted.target_lufs - reached_lufs
            next_db = min(gain_db + missing_lu / slope, most_db)
            if abs(missing_lu) < _CLOSE_ENOUGH_LU or next_db == gain_db:
                break
            then_lufs = self._loudness(next_db)
            # A secant; limiting takes back most of the gain at worst, and gives none of its own.
            slope = float(np.clip((then_lufs - reached_lufs) / (next_db - gain_db), 0.1, 1.0))
            gain_db, reached_lufs = next_db, then_lufs
        return gain_db, reached_lufs

    def _loudness(self, gain_db: float) -> float:
        turned = self._reduction(gain_db)
        found_lufs = self._sound.integrated_lufs(gain_db, turned.at, 10 ** (turned.db / 10))
        return self._wanted.target_lufs if found_lufs is None else found_lufs

    def _reduction(self, gain_db: float) -> Reduction:
        if self._limiter is None:
            return Reduction(np.empty(0, dtype=np.intp), np.empty(0))
        if gain_db > self._known_to_db:
            self._known_to_db = gain_db + _USUAL_MAKE_UP_DB
            of_interest = self._limiter.threshold / 10 ** (self._known_to_db / 20)
            self.reached = reach(self._samples, self._sound.sample_rate_hz, of_interest=of_interest)
        threshold = self._limiter.threshold / 10 ** (gain_db / 20)
        return reduction(self.reached, self._sound.sample_rate_hz, threshold)
