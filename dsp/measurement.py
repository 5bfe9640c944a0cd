"""Measures a recording or an output: the same figures, by the same means, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import AudioBuffer, Samples, Source, paused
from dsp.loudness import Weighted, weighted
from dsp.report import ChannelMeasurement, Measurement, Programme, ReportWarning
from dsp.speech import decide, speech_levels
from dsp.true_peak import inter_sample_peaks

_CLIPPED_FROM: Final = 0.97  # mu-law reaches 0.980 and A-law 0.984 of full scale
_DECIMALS: Final = 3


def measure_audio(audio: AudioBuffer, source: Source) -> Measurement:
    """Measure each channel and the programme outside the pauses."""
    sound = weighted(audio.samples, audio.sample_rate_hz, source.pauses)
    counted = ~paused(audio.frames, audio.sample_rate_hz, source.pauses)
    channels = tuple(
        _measure_channel(audio, source, index, sound, counted) for index in range(audio.channels)
    )
    together = sound.loudness()
    peaks = [channel.true_peak_dbtp for channel in channels if channel.true_peak_dbtp is not None]
    return Measurement(
        programme=Programme(
            integrated_lufs=_rounded(together.integrated_lufs),
            loudness_range_lu=_rounded(together.range_lu),
            true_peak_dbtp=max(peaks, default=None),
        ),
        channels=channels,
    )


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
        yield "loudness_range_undefined", "under 3 s; its loudness range is undefined."
    if channel.speech_level_dbfs is None:
        yield "no_speech", "nothing stands out of the noise; speech level and SNR are undefined."
    elif channel.noise_floor_dbfs is None:
        yield (
            "noise_undefined",
            "digital silence, or nothing, between the speech; noise floor and SNR are undefined.",
        )


def _measure_channel(
    audio: AudioBuffer, source: Source, index: int, sound: Weighted, counted: NDArray[np.bool_]
) -> ChannelMeasurement:
    samples = np.ascontiguousarray(audio.samples[:, index])
    own = sound.loudness(index)
    levels = speech_levels(decide(samples, audio.sample_rate_hz, source.pauses))
    sample_peak = float(np.abs(samples).max(where=counted, initial=0.0))
    peaks = inter_sample_peaks(samples, audio.sample_rate_hz, of_interest=sample_peak)
    return ChannelMeasurement(
        index=index,
        role=source.role(index),
        integrated_lufs=_rounded(own.integrated_lufs),
        loudness_range_lu=_rounded(own.range_lu),
        true_peak_dbtp=_decibels(float(peaks.max(where=counted, initial=0.0))),
        sample_peak_dbfs=_decibels(sample_peak),
        speech_level_dbfs=_rounded(levels.speech_dbfs),
        noise_floor_dbfs=_rounded(levels.noise_dbfs),
        snr_db=_rounded(levels.snr_db),
        clipped_samples=_clipped(samples, sample_peak, counted),
        speech_s=round(levels.speech_s, _DECIMALS),
    )


def _clipped(samples: Samples, sample_peak: float, counted: NDArray[np.bool_]) -> int:
    """Count samples at the greatest magnitude, where that is near full scale and reached twice or more in a row."""
    if sample_peak < _CLIPPED_FROM:
        return 0
    at_peak = (np.abs(samples) >= sample_peak) & counted
    in_run = np.zeros(samples.size + 1, dtype=np.bool_)
    run = at_peak[1:] & at_peak[:-1] & (samples[1:] == samples[:-1])
    in_run[1:-1] |= run
    in_run[:-2] |= run
    return int(in_run.sum())


def _decibels(magnitude: float) -> float | None:
    return round(20 * float(np.log10(magnitude)), _DECIMALS) if magnitude > 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
