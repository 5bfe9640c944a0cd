"""Measures a recording or an output: the same figures, by the same means, before and after."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsp.audio import AudioBuffer, Samples, Source, audible
from dsp.loudness import channel_energies, loudness
from dsp.report import ChannelMeasurement, Measurement, Programme, ReportWarning
from dsp.speech import speech_levels
from dsp.true_peak import true_peak

_CLIPPED_FROM = 0.97  # mu-law reaches 0.980 and A-law 0.984 of full scale
_DECIMALS = 3


def measure_audio(audio: AudioBuffer, source: Source) -> Measurement:
    """Measure each channel and the programme outside the pauses."""
    samples = audible(audio, source.pauses)
    energies = channel_energies(samples, audio.sample_rate_hz)
    channels = tuple(
        _measure_channel(samples[:, index], audio.sample_rate_hz, index, source.role(index), energies[:, [index]])
        for index in range(audio.channels)
    )
    together = loudness(energies)
    peaks = [channel.true_peak_dbtp for channel in channels if channel.true_peak_dbtp is not None]
    return Measurement(
        programme=Programme(
            integrated_lufs=_rounded(together.integrated_lufs),
            loudness_range_lu=_rounded(together.range_lu),
            true_peak_dbtp=max(peaks, default=None),
        ),
        channels=channels,
    )


def undefined_warnings(measured: Measurement) -> Iterator[ReportWarning]:
    """Say why a value of the measurement is undefined."""
    for channel in measured.channels:
        if channel.sample_peak_dbfs is None:
            yield ReportWarning(code="silent", channel=channel.index, message="The channel is digital silence.")
        elif channel.integrated_lufs is None:
            yield ReportWarning(
                code="loudness_undefined",
                channel=channel.index,
                message="Loudness is undefined: under 400 ms of audio, or nothing above -70 LUFS. Its level was kept.",
            )
        elif channel.speech_level_dbfs is None:
            yield ReportWarning(
                code="no_speech",
                channel=channel.index,
                message="No speech can be told from the rest of the channel: its speech level and SNR are undefined.",
            )
        elif channel.noise_floor_dbfs is None:
            yield ReportWarning(
                code="no_noise",
                channel=channel.index,
                message="Between the speech is digital silence: noise floor and SNR are undefined.",
            )
        elif channel.loudness_range_lu is None:
            yield ReportWarning(
                code="range_undefined",
                channel=channel.index,
                message="The loudness range is undefined: under 3 s of audio.",
            )


def _measure_channel(
    samples: Samples, sample_rate_hz: int, index: int, role: str | None, energies: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> ChannelMeasurement:
    own = loudness(energies)
    levels = speech_levels(samples, sample_rate_hz)
    peak = float(np.abs(samples).max()) if samples.size else 0.0
    return ChannelMeasurement(
        index=index,
        role=role,
        integrated_lufs=_rounded(own.integrated_lufs),
        loudness_range_lu=_rounded(own.range_lu),
        true_peak_dbtp=_decibels(true_peak(samples, sample_rate_hz)),
        sample_peak_dbfs=_decibels(peak),
        speech_level_dbfs=_rounded(levels.speech_dbfs),
        noise_floor_dbfs=_rounded(levels.noise_dbfs),
        snr_db=_rounded(levels.snr_db),
        clipped_samples=_clipped(samples, peak),
        speech_s=round(levels.speech_s, _DECIMALS),
    )


def _clipped(samples: Samples, peak: float) -> int:
    """Samples at the greatest magnitude, where that is near full scale and reached twice or more in a row."""
    if peak < _CLIPPED_FROM:
        return 0
    at_peak = np.abs(samples) >= peak
    run = at_peak[1:] & at_peak[:-1]
    in_run = np.zeros(samples.size, dtype=np.bool_)
    in_run[1:] |= run
    in_run[:-1] |= run
    return int(in_run.sum())


def _decibels(magnitude: float) -> float | None:
    return round(20 * float(np.log10(magnitude)), _DECIMALS) if magnitude > 0 else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
