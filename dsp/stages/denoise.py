"""Noise reduction, each channel as its own noise asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dsp.passing import through
from dsp.report import DenoiseOutcome, ReportWarning
from dsp.spectral_gate import NoiseFrames, SpectralGate
from dsp.speech import SpeechLevels, speech_levels
from dsp.stages.base import Context, Stage, not_known
from dsp.streams import Filter

Method = Literal["auto", "rnnoise", "omlsa", "logmmse", "spectral_gate", "afftdn", "none"]

_MIX: Final = {"rnnoise": 0.2, "auto": 0.1}
_NO_NOISE: Final = "no noise between the speech"
_NO_SPEECH: Final = "no speech found"


def auto_method(levels: SpeechLevels) -> tuple[Literal["rnnoise", "none"], str]:
    """Choose for one channel what ``method: auto`` does.

    Returns
    -------
    The method, and the reason as the report gives it.
    """
    if levels.noise_dbfs is None:
        return "none", _NO_NOISE
    if levels.snr_db is None:
        return "none", _NO_SPEECH
    if levels.is_clean:
        return "none", f"snr {levels.snr_db:.1f} dB: clean enough"
    return "rnnoise", f"snr {levels.snr_db:.1f} dB"


class Denoise(Stage):
    """Lower the noise of each channel; one without noise passes bit for bit."""

    name: ClassVar[str] = "denoise"
    added: ClassVar[frozenset[str]] = frozenset({"mix"})

    method: Method = "auto"
    """``auto``: by each channel's measured noise, ``rnnoise`` or ``none``; ``rnnoise``: a recurrent network (RNNoise
    0.2); ``omlsa``: OM-LSA gain over tracked noise, the fastest; ``logmmse``: log-spectral amplitude gain;
    ``spectral_gate``: stationary spectral gating by noisereduce, 0.8 of the noise; ``afftdn``: FFmpeg's denoiser;
    ``none``."""
    mix: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Share of the original that is kept, 0 to 1, where ``rnnoise`` is used; another method takes none. Left out: 0.2,
    with ``auto``, which leaves good channels alone, 0.1."""

    @field_validator("method", mode="before")
    @classmethod
    def _exists(cls, method: Any) -> Any:
        if method not in get_args(Method):
            raise not_known("method", method, get_args(Method))
        return method

    @model_validator(mode="before")
    @classmethod
    def _mix_of_the_method(cls, told: Any) -> Any:
        """Spell the method's own mix out: a chain that names it is the same chain."""
        if isinstance(told, dict) and told.get("mix") is None:
            method = told.get("method", "auto")
            return {**told, "mix": _MIX.get(method)} if isinstance(method, str) and method in _MIX else told
        return told

    @model_validator(mode="after")
    def _mix_is_used(self) -> Self:
        if self.method not in _MIX and self.mix is not None:
            raise PydanticCustomError(
                "mix_not_used",
                "`mix` belongs to the methods `auto` and `rnnoise`; `{method}` has none",
                {"method": self.method, "at": ("mix",)},
            )
        return self

    def open(self, context: Context) -> Filter:
        """Decide for each channel, and begin with those that are denoised."""
        outcomes = [self._outcome(index, context) for index in range(context.audio.channels)]
        context.denoise.extend(outcomes)
        chosen = [index for index, outcome in enumerate(outcomes) if outcome.applied]
        engine = self._engine(chosen, context) if chosen else None
        return through(engine, chosen, context.audio.channels)

    def _outcome(self, channel: int, context: Context) -> DenoiseOutcome:
        if self.method == "none":
            return DenoiseOutcome(method="none", applied=False, reason="the chain asks for none")
        decision = context.decisions[channel]
        levels = speech_levels(decision)
        if self.method == "auto":
            method, reason = auto_method(levels)
            return DenoiseOutcome(method=method, applied=method != "none", reason=reason)
        applied, reason = True, _NO_SPEECH if levels.snr_db is None else f"snr {levels.snr_db:.1f} dB"
        if levels.noise_dbfs is None:
            applied, reason = False, _NO_NOISE
        elif self.method == "spectral_gate":
            applied, why = NoiseFrames(decision, context.audio).learnable
            reason = f"{reason}; {why}" if applied and why else why or reason
        return DenoiseOutcome(method=self.method, applied=applied, reason=reason)

    def _engine(self, chosen: Sequence[int], context: Context) -> Filter:
        """Make the one filter of all channels that are denoised."""
        # Imported here: a chain file is read without any of them, and a call is cleaned with one.
        rate_hz = context.audio.sample_rate_hz
        if self.method == "omlsa":
            from dsp.omlsa import OmLsa  # noqa: PLC0415

            return OmLsa(rate_hz, len(chosen))
        if self.method == "logmmse":
            from dsp.logmmse import LogMmse  # noqa: PLC0415

            return LogMmse(rate_hz, len(chosen))
        if self.method == "spectral_gate":
            return SpectralGate(
                context.audio,
                chosen,
                [NoiseFrames(context.decisions[index], context.audio) for index in chosen],
            )
        if self.method == "afftdn":
            from dsp.afftdn import Afftdn  # noqa: PLC0415

            levels = [speech_levels(context.decisions[index]) for index in chosen]
            return Afftdn(rate_hz, [found.noise_dbfs or 0.0 for found in levels])
        return self._rnnoise(len(chosen), context)

    def _rnnoise(self, channels: int, context: Context) -> Filter:
        from dsp.rnnoise import RnNoise, RnNoiseUnavailable  # noqa: PLC0415

        rate_hz = context.audio.sample_rate_hz
        assert self.mix is not None  # noqa: S101  (of these methods it is known)
        try:
            return RnNoise(rate_hz, channels, mix=self.mix)
        except RnNoiseUnavailable as why:
            from dsp.rnnoise_library import LibraryRnNoise  # noqa: PLC0415

            library = LibraryRnNoise(rate_hz, channels, mix=self.mix)
            message = (
                f"RNNoise runs in its library's own loop, slower and not to the same bit, because: {why}"
            )
            context.warnings.append(ReportWarning(code="denoiser_fallback", message=message))
            return library
