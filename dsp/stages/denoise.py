"""Noise reduction, a channel at a time."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import field_validator

from dsp.audio import AudioBuffer, Samples
from dsp.report import DenoiseOutcome
from dsp.stages.base import Context, Stage

_SEGMENT_S = 60
_FFT_FRAMES = 1024
# Not all of the noise: what is left masks the gate's artefacts, which hurt recognizers more than noise does.
_PROP_DECREASE = 0.8
_NOT_YET = ("auto", "rnnoise", "omlsa", "logmmse", "afftdn")


class Denoise(Stage):
    """Lower the noise of each channel."""

    name: ClassVar[str] = "denoise"

    method: Literal["spectral_gate", "none"] = "spectral_gate"
    """spectral_gate (stationary spectral gating, by noisereduce) or none."""

    @field_validator("method", mode="before")
    @classmethod
    def _exists(cls, method: object) -> object:
        if method in _NOT_YET:
            raise ValueError(f"method {method!r} does not exist in this version; spectral_gate and none do")
        return method

    def process(self, audio: AudioBuffer, context: Context) -> AudioBuffer:
        """Denoise every channel that is neither silent nor too short."""
        cleaned = audio.samples.copy()
        for index in range(audio.channels):
            outcome = self._outcome(audio.samples[:, index])
            context.denoise.append(outcome)
            if outcome.applied:
                cleaned[:, index] = _spectral_gate(audio.samples[:, index], audio.sample_rate_hz)
        return audio.with_samples(cleaned)

    def _outcome(self, channel: Samples) -> DenoiseOutcome:
        if self.method == "none":
            return DenoiseOutcome(method="none", applied=False, reason="not asked for")
        if channel.size < 2 * _FFT_FRAMES:
            return DenoiseOutcome(method=self.method, applied=False, reason="too short")
        if not channel.any():
            return DenoiseOutcome(method=self.method, applied=False, reason="silent")
        return DenoiseOutcome(method=self.method, applied=True, reason="asked for")


def _spectral_gate(channel: Samples, sample_rate_hz: int) -> Samples:
    """Gate segments of 60 s from sample 0, each with its own noise profile, so that memory does not grow."""
    # Imported late: it brings matplotlib along, which a command that only measures need not wait for.
    from noisereduce import reduce_noise

    segment = _SEGMENT_S * sample_rate_hz
    # A rest too short for a profile of its own goes with the segment before.
    starts = [
        start
        for start in range(0, channel.size, segment)
        if start == 0 or channel.size - start >= segment // 6
    ]
    ends = [*starts[1:], channel.size]
    cleaned = np.empty_like(channel)
    for start, end in zip(starts, ends, strict=True):
        part = channel[start:end]
        if not part.any():
            cleaned[start:end] = part
            continue
        gated = reduce_noise(
            y=part,
            sr=sample_rate_hz,
            stationary=True,
            prop_decrease=_PROP_DECREASE,
            n_fft=_FFT_FRAMES,
            chunk_size=2 * segment,
            n_jobs=1,
        )
        cleaned[start:end] = np.nan_to_num(gated, nan=0.0, posinf=0.0, neginf=0.0)
    return cleaned
