"""True-peak limiting: no peak between or on the samples above a ceiling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field
from scipy.ndimage import maximum_filter1d, minimum_filter1d
from scipy.signal import fftconvolve

from dsp.audio import AudioBuffer, Samples
from dsp.stages.base import Context, Stage
from dsp.true_peak import inter_sample_peaks

_LOOK_AHEAD_S = 0.005
# Interpolating a limited signal again gives other peaks than limiting the interpolated one: kept in hand.
_MARGIN_DB = 0.03


class LimitTruePeak(Stage):
    """Keep the true peak of each channel at or below a ceiling.

    The gain falls within 5 ms before a peak and recovers as fast after it (a minimum over +-5 ms, smoothed by a Hann
    window of the same length): no delay, nothing added where the ceiling is not reached.
    """

    name: ClassVar[str] = "limit"

    ceiling_dbtp: Annotated[float, Field(ge=-20.0, le=0.0)] = -1.5
    """Ceiling of the true peak in dBTP (ITU-R BS.1770-5, annex 2), -20 to 0."""

    def process(self, audio: AudioBuffer, context: Context) -> AudioBuffer:
        """Limit every channel; with linked channels by one gain curve."""
        return self.prepared(audio, linked=context.channels == "linked").limited(0.0)

    def prepared(self, audio: AudioBuffer, *, linked: bool) -> Prepared:
        """Look at the peaks once, so that limiting after any gain is cheap."""
        peaks = np.stack(
            [inter_sample_peaks(audio.samples[:, i], audio.sample_rate_hz) for i in range(audio.channels)], axis=1
        )
        if linked:
            peaks = np.repeat(peaks.max(axis=1, keepdims=True), audio.channels, axis=1)
        return Prepared(audio, peaks, 10 ** ((self.ceiling_dbtp - _MARGIN_DB) / 20))


@dataclass(frozen=True)
class Prepared:
    """Audio whose peaks are known.

    Attributes:
        audio: what is to be limited.
        peaks: magnitude from each sample up to the next, shape (frames, channels).
        ceiling: linear.
    """

    audio: AudioBuffer
    peaks: Samples
    ceiling: float

    def limited(self, gain_db: float | Samples) -> AudioBuffer:
        """Give the audio after a gain in dB, one for all or one a channel, and the limiter."""
        gain = np.broadcast_to(np.power(10.0, np.asarray(gain_db) / 20), (self.audio.channels,))
        out = np.empty_like(self.audio.samples)
        for index in range(self.audio.channels):
            out[:, index] = self._limited_channel(index, float(gain[index]))
        return self.audio.with_samples(out)

    def _limited_channel(self, index: int, gain: float) -> Samples:
        amplified = self.audio.samples[:, index] * np.float32(gain)
        peaks = self.peaks[:, index] * gain
        if not peaks.size or peaks.max() <= self.ceiling:
            return amplified
        # A peak after a sample is bounded by the gain at both of its ends.
        reach = np.maximum(peaks, np.concatenate(([peaks[0]], peaks[:-1])))
        wanted = np.minimum(1.0, self.ceiling / np.maximum(reach, 1e-9))
        half = max(1, round(_LOOK_AHEAD_S * self.audio.sample_rate_hz))
        floor = minimum_filter1d(wanted, 2 * half + 1, mode="nearest")
        window = np.hanning(2 * half + 3)[1:-1]
        curve = np.ones(peaks.size)
        # Only where something is to be done: elsewhere the samples pass bit for bit.
        touched = maximum_filter1d(floor < 1.0, 2 * half + 1, mode="nearest")
        smooth = fftconvolve(np.pad(floor, half, mode="edge"), window / window.sum(), mode="valid")
        curve[touched] = np.minimum(smooth[touched], 1.0)
        limited: Samples = (amplified * curve).astype(np.float32)
        return limited
