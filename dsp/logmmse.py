"""Noise reduction by the log-spectral amplitude of minimum mean-square error: the fastest denoiser.

For each bin of each frame, with the power ``|Y|^2`` and the noise's power ``lambda``:

- the noise [3]: ``P = 1 / (1 + (1 + xi_1) exp(-|Y|^2 / lambda xi_1 / (1 + xi_1)))`` with ``xi_1`` = 15 dB is the
  probability of speech (held down to 0.99 where its mean over time is above that); ``lambda`` keeps 0.8 of itself from
  frame to frame and takes the rest from ``(1 - P) |Y|^2 + P lambda`` (equations 18 and 22 to 25);
- ``gamma = |Y|^2 / lambda``, ``xi = alpha G^2 gamma (both of the frame before) + (1 - alpha) max(gamma - 1, 0)``
  ([1], equation 51), ``v = gamma xi / (1 + xi)``;
- ``G = xi / (1 + xi) exp(E1(v) / 2)`` ([2], equation 20), held between the floor and 1.

The floor is the law of ``dsp.stft.FloorState``.

References
----------
.. [1] Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error short-time spectral amplitude
   estimator", IEEE Trans. Acoustics, Speech and Signal Processing 32(6), 1984.
.. [2] Y. Ephraim, D. Malah, "Speech enhancement using a minimum mean-square error log-spectral amplitude estimator",
   IEEE Trans. Acoustics, Speech and Signal Processing 33(2), 1985.
.. [3] T. Gerkmann, R. C. Hendriks, "Unbiased MMSE-based noise power estimation with low complexity and low tracking
   delay", IEEE Trans. Audio, Speech and Language Processing 20(4), 2012.
"""

from __future__ import annotations

import ctypes

from dsp.stft import FloorState, Frames, Kernel, SpectralFilter, floats


class Settings(ctypes.Structure):
    """``settings`` of ``spectral_logmmse.c``."""

    _fields_ = (
        *floats(
            "noise_keep", "presence_keep", "presence_most", "presence_prior", "prior_keep", "prior_least"
        ),
        ("floor", FloorState),
    )

    @classmethod
    def of(cls, frames: Frames, floor: FloorState) -> Settings:
        """The settings for a rate."""
        return cls(
            noise_keep=frames.kept(0.8),
            presence_keep=frames.kept(0.9),
            presence_most=0.99,
            presence_prior=10**1.5,
            prior_keep=frames.kept(0.82),
            prior_least=10**-2.5,
            floor=floor,
        )


class LogMmse(SpectralFilter):
    """Log-MMSE gain on noise tracked by the probability of speech, each channel on its own; a filter.

    Parameters
    ----------
    sample_rate_hz
        8,000 to 48,000 Hz.
    channels
        Of the blocks that will be pushed.
    floor_db
        Lowest gain in dB, -40 to 0.
    enough_db
        Ratio of speech to noise in dB, 0 to 60: noise is lowered no further than to this, and a channel that has it
        anyway is left as it is.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    """

    def __init__(
        self, sample_rate_hz: int, channels: int, *, floor_db: float = -16.0, enough_db: float = 30.0
    ) -> None:
        frames = Frames.at(sample_rate_hz)
        settings = Settings.of(frames, FloorState.of(frames, floor_db, enough_db))
        super().__init__(frames, [Kernel("logmmse", frames, settings) for _ in range(channels)])
