"""Loudness normalization: a constant gain that meets the target after the limiter."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from dsp.audio import AudioBuffer
from dsp.loudness import integrated_lufs
from dsp.stages.base import Context, Stage
from dsp.stages.limit import LimitTruePeak

_ROUNDS = 4
_CLOSE_ENOUGH_LU = 0.01


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
        linked = context.channels == "linked"
        groups = [list(range(audio.channels))] if linked else [[index] for index in range(audio.channels)]
        limiter = next((stage for stage in context.following if isinstance(stage, LimitTruePeak)), None)
        samples = audio.samples.copy()
        for group in groups:
            part = AudioBuffer(audio.samples[:, group], audio.sample_rate_hz)
            gain_db = self._gain_db(part, limiter, linked=linked)
            samples[:, group] *= np.float32(10 ** (gain_db / 20))
        return audio.with_samples(samples)

    def _gain_db(self, audio: AudioBuffer, limiter: LimitTruePeak | None, *, linked: bool) -> float:
        loudness_lufs = integrated_lufs(audio.samples, audio.sample_rate_hz)
        if loudness_lufs is None:
            return 0.0
        gain_db = min(self.target_lufs - loudness_lufs, self.max_gain_db)
        if limiter is None:
            return gain_db
        prepared = limiter.prepared(audio, linked=linked)
        for _ in range(_ROUNDS):
            after_lufs = integrated_lufs(prepared.limited(gain_db).samples, audio.sample_rate_hz)
            if after_lufs is None or gain_db >= self.max_gain_db:
                break
            missing_lu = self.target_lufs - after_lufs
            if abs(missing_lu) < _CLOSE_ENOUGH_LU:
                break
            gain_db = min(gain_db + missing_lu, self.max_gain_db)
        return gain_db


