"""One decision of speech against noise, on frames of 20 ms; every statistic that needs one takes this."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from dsp.audio import Samples

_FRAME_S = 0.02
_LOWEST_DB = -120.0
_LEAST_SPREAD_DB = 9.0  # steadier than this is noise, a tone, or one voice without a pause: no decision
_ABOVE_NOISE = 0.4  # share of the spread, in dB, from noise to speech
_HANGOVER_FRAMES = 5  # speech does not end within 100 ms: weak ends of words belong to it


@dataclass(frozen=True)
class SpeechLevels:
    """Levels of speech and of the noise beneath it; None where there is none to measure.

    Attributes:
        speech_dbfs: mean power of the speech frames, in dB below full scale.
        noise_dbfs: mean power of the other frames that are not digital silence.
        speech_s: seconds of speech.
    """

    speech_dbfs: float | None
    noise_dbfs: float | None
    speech_s: float

    @property
    def snr_db(self) -> float | None:
        """Speech above noise in dB."""
        if self.speech_dbfs is None or self.noise_dbfs is None:
            return None
        return self.speech_dbfs - self.noise_dbfs


def speech_levels(channel: Samples, sample_rate_hz: int) -> SpeechLevels:
    """Measure one channel, shape (frames,).

    The threshold lies between the 10th and the 95th percentile of the frame levels, as in energy-based voice
    activity detectors (compare ITU-T P.56, which also averages power over active speech only).
    """
    frame = round(_FRAME_S * sample_rate_hz)
    count = channel.size // frame
    blocks = channel[: count * frame].reshape(count, frame).astype(np.float64)
    power = np.einsum("nf,nf->n", blocks, blocks) / frame
    power = power[power > 10 ** (_LOWEST_DB / 10)]  # digital silence is neither speech nor noise
    if power.size == 0:
        return SpeechLevels(None, None, 0.0)
    level = 10 * np.log10(power)
    low, high = np.percentile(level, [10, 95])
    if high - low < _LEAST_SPREAD_DB:
        return SpeechLevels(None, _mean_db(power), 0.0)
    is_speech = maximum_filter1d(level > low + _ABOVE_NOISE * (high - low), 2 * _HANGOVER_FRAMES + 1)
    noise = power[~is_speech]
    return SpeechLevels(
        speech_dbfs=_mean_db(power[is_speech]),
        noise_dbfs=_mean_db(noise) if noise.size else None,
        speech_s=float(is_speech.sum()) * _FRAME_S,
    )


def _mean_db(power: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return 10 * float(np.log10(power.mean()))
