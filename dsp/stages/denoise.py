"""Noise reduction, a channel at a time."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
from pydantic import field_validator
from pydantic_core import PydanticCustomError

from dsp.audio import AudioBuffer, Samples
from dsp.report import DenoiseOutcome
from dsp.stages.base import Context, Stage, listed, not_known

Method = Literal["spectral_gate", "none"]

# Names that chain files will use once these exist; until then they are refused at load, not silently replaced.
_TO_COME: Final = ("auto", "rnnoise", "omlsa", "logmmse", "afftdn")


class Denoise(Stage):
    """Lower the noise of each channel."""

    name: ClassVar[str] = "denoise"

    method: Method
    """``spectral_gate`` (stationary spectral gating by noisereduce, 0.8 of the noise) or ``none``."""

    @field_validator("method", mode="before")
    @classmethod
    def _exists(cls, method: Any) -> Any:
        methods = get_args(Method)
        if method in _TO_COME:
            raise PydanticCustomError(
                "method_to_come",
                "the method `{found}` does not exist in this version, which has {methods}",
                {"found": method, "methods": listed(methods)},
            )
        if method not in methods:
            raise not_known("method", method, methods)
        return method

    def process(self, audio: AudioBuffer, context: Context) -> AudioBuffer:
        """Denoise every channel whose noise can be learnt."""
        cleaned = audio.samples.copy()
        for index in range(audio.channels):
            outcome, denoised = self._denoised(
                np.ascontiguousarray(audio.samples[:, index]), audio.sample_rate_hz, context
            )
            context.denoise.append(outcome)
            if denoised is not None:
                cleaned[:, index] = denoised
        return audio.with_samples(cleaned)

    def _denoised(
        self, channel: Samples, sample_rate_hz: int, context: Context
    ) -> tuple[DenoiseOutcome, Samples | None]:
        if self.method == "none":
            return DenoiseOutcome(method="none", applied=False, reason="the chain asks for none"), None
        # Imported here: noisereduce takes seconds to load, and reading a chain file must not.
        from dsp.spectral_gate import spectral_gate  # noqa: PLC0415
        from dsp.speech import decide, speech_levels  # noqa: PLC0415

        decision = decide(channel, sample_rate_hz, context.pauses)
        levels = speech_levels(decision)
        denoised, reason = None, "no noise between the speech"
        if levels.noise_dbfs is not None:
            denoised = spectral_gate(channel, sample_rate_hz, decision)
            reason = "no speech found" if levels.snr_db is None else f"snr {levels.snr_db:.1f} dB"
            if denoised is None:
                reason = "too little without speech to learn the noise from"
        return DenoiseOutcome(method=self.method, applied=denoised is not None, reason=reason), denoised
