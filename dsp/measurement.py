"""Measures a recording or an output as it goes by: the same figures, by the same means, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dsp.audio import Pause, Samples
from dsp.levels import ChannelLevels, LevelMeter, silence_share
from dsp.loudness import Energies, EnergyMeter, Loudness
from dsp.report import ChannelMeasurement, Measurement, Programme, ReportWarning
from dsp.speech import Decision
from dsp.true_peak import TruePeakMeter

_DECIMALS: Final = 3
_FINER_DECIMALS: Final = 6


@dataclass(frozen=True)
class Measured:
    """What was measured, and what the stages want to know of it."""

    measurement: Measurement
    energies: Energies
    decisions: tuple[Decision, ...]
    """Speech against noise, by channel."""


class Meter:
    """Measures each channel and the programme outside the pauses.

    Parameters
    ----------
    sample_rate_hz
        Frames a second.
    channels
        Channels side by side.
    pauses
        Stretches that do not count.
    """

    def __init__(self, sample_rate_hz: int, channels: int, pauses: tuple[Pause, ...] = ()) -> None:
        self._energies = EnergyMeter(sample_rate_hz, channels, pauses, loudest=True)
        self._peaks = TruePeakMeter(sample_rate_hz, channels, pauses)
        self._levels = LevelMeter(sample_rate_hz, channels, pauses)

    def push(self, block: Samples) -> None:
        """Take the next frames, shape (frames, channels)."""
        self._energies.push(block)
        self._peaks.push(block)
        self._levels.push(block)

    def finish(self, roles: Sequence[str | None] = ()) -> Measured:
        """Give what was measured; ``roles`` are those of the channels, as far as they are known."""
        energies, peaks, levels = self._energies.finish(), self._peaks.finish(), self._levels.finish()
        channels = tuple(
            _channel(index, dict(enumerate(roles)).get(index), energies.loudness(index), float(peak), own)
            for index, (peak, own) in enumerate(zip(peaks, levels, strict=True))
        )
        together = energies.loudness()
        programme = Programme(
            integrated_lufs=_rounded(together.integrated_lufs),
            loudness_range_lu=_rounded(together.range_lu),
            momentary_max_lufs=_rounded(together.momentary_max_lufs),
            short_term_max_lufs=_rounded(together.short_term_max_lufs),
            true_peak_dbtp=_decibels(float(peaks.max(initial=0.0))),
            silence_share=_rounded(silence_share(levels)),
        )
        measurement = Measurement(programme=programme, channels=channels)
        return Measured(measurement, energies, tuple(own.decision for own in levels))


def undefined_warnings(channels: tuple[ChannelMeasurement, ...], what: str) -> Iterator[ReportWarning]:
    """Say why values of a measurement are undefined; ``what`` was measured, as in ``the recording``."""
    for channel in channels:
        for code, why in _undefined(channel):
            yield ReportWarning(
                code=code, channel=channel.index, message=f"Channel {channel.index} of {what}: {why}"
            )


def _undefined(channel: ChannelMeasurement) -> Iterator[tuple[str, str]]:
    if channel.sample_peak_dbfs is None:
        yield "silent", "digital silence; no level is defined."
        return
    if channel.integrated_lufs is None:
        yield "loudness_undefined", "under 400 ms, or nothing above -70 LUFS; its loudness is undefined."
    elif channel.loudness_range_lu is None:
        yield (
            "loudness_range_undefined",
            "under 3 s; its loudness range and short-term loudness are undefined.",
        )
    if channel.active_speech_level_dbfs is None:
        yield (
            "active_level_undefined",
            "too quiet or too brief for ITU-T P.56; its active speech level is undefined.",
        )
    if channel.speech_level_dbfs is None:
        yield "no_speech", "nothing stands out of the noise; speech level and SNR are undefined."
    elif channel.noise_floor_dbfs is None:
        yield (
            "noise_undefined",
            "digital silence, or nothing, between the speech; noise floor and SNR are undefined.",
        )


def _channel(
    index: int, role: str | None, loudness: Loudness, peak: float, levels: ChannelLevels
) -> ChannelMeasurement:
    return ChannelMeasurement(
        index=index,
        role=role,
        integrated_lufs=_rounded(loudness.integrated_lufs),
        loudness_range_lu=_rounded(loudness.range_lu),
        momentary_max_lufs=_rounded(loudness.momentary_max_lufs),
        short_term_max_lufs=_rounded(loudness.short_term_max_lufs),
        true_peak_dbtp=_decibels(peak),
        sample_peak_dbfs=_decibels(levels.sample_peak),
        speech_level_dbfs=_rounded(levels.speech.speech_dbfs),
        noise_floor_dbfs=_rounded(levels.speech.noise_dbfs),
        snr_db=_rounded(levels.speech.snr_db),
        active_speech_level_dbfs=_rounded(levels.active_speech_level_dbfs),
        activity_factor=_rounded(levels.activity_factor),
        silence_share=_rounded(levels.silence_share),
        dc_offset=None if levels.dc_offset is None else round(levels.dc_offset, _FINER_DECIMALS),
        clipped_samples=levels.clipped_samples,
        clipping_runs=levels.clipping_runs,
        dropouts=levels.dropouts,
        dropout_s=round(levels.dropout_s, _DECIMALS),
        speech_s=round(levels.speech.speech_s, _DECIMALS),
    )


def _decibels(magnitude: float) -> float | None:
    return round(20 * float(np.log10(magnitude)), _DECIMALS) if magnitude > 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
