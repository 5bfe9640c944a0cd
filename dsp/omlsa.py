"""Noise reduction by the optimally modified log-spectral amplitude, with a floor that clean channels do not feel.

For each bin of each frame, with the power ``|Y|^2``, the noise's power ``lambda`` and the gain floor ``G_min``:

- ``gamma = |Y|^2 / lambda``, ``xi = alpha G_H1^2 gamma (both of the frame before) + (1 - alpha) max(gamma - 1, 0)``,
  ``v = gamma xi / (1 + xi)`` (decision-directed a priori SNR; [1], equations 3, 13 and 18);
- ``G_H1 = xi / (1 + xi) exp(E1(v) / 2)``, ``p = 1 / (1 + q / (1 - q) (1 + xi) exp(-v))``,
  ``G = G_H1^p G_min^(1 - p)``, held between ``G_min`` and 1 ([1], equations 9, 15 and 16);
- the noise: improved minima controlled recursive averaging [2]. A first pass smooths the power over three bins and over
  time, and takes its minimum over the last second; bins far above it are left out of a second pass, whose minimum
  gives the probability ``q`` that there is no speech; ``lambda`` is a mean of ``|Y|^2``, quick where ``p`` is low
  ([2], equations 10 to 12, 14 to 16, 18, 21, 26 to 29).

The floor is the law of ``dsp.stft.FloorState``.

References
----------
.. [1] I. Cohen, B. Berdugo, "Speech enhancement for non-stationary noise environments", Signal Processing 81, 2001.
.. [2] I. Cohen, "Noise spectrum estimation in adverse environments: improved minima controlled recursive averaging",
   IEEE Trans. Speech and Audio Processing 11(5), 2003.
"""

from __future__ import annotations

import ctypes
from typing import Final

from dsp.stft import FloorState, Frames, Kernel, SpectralFilter, floats

_STRETCHES: Final = 8  # of the kernel: the minimum is taken over as many, and the one under way
_MINIMUM_S: Final = 0.77


class Settings(ctypes.Structure):
    """``settings`` of ``omlsa.c``; the names of [2] stand there."""

    _fields_ = (
        *floats("smooth", "bias_min", "gamma0", "gamma1", "zeta0"),
        *floats("noise_keep", "bias_noise", "prior_keep", "prior_least", "stretch"),
        ("floor", FloorState),
    )

    @classmethod
    def of(cls, frames: Frames, floor: FloorState) -> Settings:
        """The settings for a rate.

        Smoothing is that of [2] (there for hops of 8 ms). ``bias_min``, ``zeta0``, the length of the minimum and
        ``prior_keep`` differ: see docs/decisions/omlsa.md.
        """
        return cls(
            smooth=frames.kept(0.81),
            bias_min=2.0,
            gamma0=4.6,
            gamma1=3.0,
            zeta0=2.2,
            noise_keep=frames.kept(0.72),
            bias_noise=1.47,
            prior_keep=frames.kept(0.76),
            prior_least=10**-2.5,
            stretch=frames.count(_MINIMUM_S / _STRETCHES),
            floor=floor,
        )


class OmLsa(SpectralFilter):
    """OM-LSA gain with IMCRA noise tracking, each channel on its own; a filter (``dsp.streams.Filter``).

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
        self, sample_rate_hz: int, channels: int, *, floor_db: float = -18.0, enough_db: float = 30.0
    ) -> None:
        frames = Frames.at(sample_rate_hz)
        settings = Settings.of(frames, FloorState.of(frames, floor_db, enough_db))
        super().__init__(frames, [Kernel("omlsa", frames, settings) for _ in range(channels)])
