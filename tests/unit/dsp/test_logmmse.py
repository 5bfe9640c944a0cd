"""Log-MMSE: the equations of the papers. The laws that it keeps stand in test_omlsa.py, for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.special import exp1

from dsp.logmmse import LogMmse
from tests.support.spectral import TINY, ReferenceFloor, Row, noise, reference, rms_db, through

RATE_HZ = 8_000
EXAMPLES = Path(__file__).parents[3] / "examples"


class ReferenceLogMmse:
    """Gerkmann and Hendriks 2012; Ephraim and Malah 1984 and 1985, as printed."""

    alpha_pow, alpha_p, xi_h1, alpha, xi_min = 0.8, 0.9, 10**1.5, 0.82, 10**-2.5

    def __init__(self) -> None:
        self.before = np.ones(129)
        self.floor = ReferenceFloor(-16.0, 30.0)
        self.noise: Row | None = None
        self.p_mean = np.zeros(129)

    def of(self, power: Row, silent: Sequence[bool]) -> Row:
        if self.noise is None and not any(silent):
            self.noise = power + TINY
        if self.noise is None or all(silent):
            if self.noise is not None:
                self.floor.empty_frame()
            return np.ones_like(power)
        if not any(silent):
            p = 1 / (1 + (1 + self.xi_h1) * np.exp(-power / self.noise * self.xi_h1 / (1 + self.xi_h1)))
            self.p_mean = self.alpha_p * self.p_mean + (1 - self.alpha_p) * p
            p = np.where(self.p_mean > 0.99, np.minimum(p, 0.99), p)
            found = (1 - p) * power + p * self.noise
            self.noise = self.alpha_pow * self.noise + (1 - self.alpha_pow) * found + TINY
        floor_db = self.floor.of(power, self.noise, learn=not any(silent))
        gamma = power / self.noise
        xi = np.maximum(self.alpha * self.before + (1 - self.alpha) * np.maximum(gamma - 1, 0), self.xi_min)
        v = np.maximum(gamma * xi / (1 + xi), 1e-10)
        gain: Row = xi / (1 + xi) * np.exp(exp1(v) / 2)
        self.before = gain**2 * gamma
        held: Row = np.clip(gain, 10 ** (floor_db / 20), 1.0)
        return held


@pytest.mark.parametrize("name", ["breakdown", "parcel", "router"])
def test_it_computes_what_the_papers_say(name: str) -> None:
    samples = soundfile.read(EXAMPLES / f"{name}.wav", dtype="float32")[0][: 8 * RATE_HZ]
    cleaned = through(LogMmse(RATE_HZ, 2), samples)
    for channel in range(2):
        wanted = reference(samples[:, channel], ReferenceLogMmse())
        assert rms_db(cleaned[:, channel] - wanted) < rms_db(wanted) - 60.0


def test_noise_that_gets_louder_is_followed() -> None:
    """By 10 dB at 10 s: two seconds later it is lowered as it was before."""
    sound = noise(20 * RATE_HZ, -50.0)
    sound[10 * RATE_HZ :] *= np.float32(10 ** (10 / 20))
    out = through(LogMmse(RATE_HZ, 1), sound[:, None])[:, 0]
    lowered_db = [
        rms_db(out[part]) - rms_db(sound[part])
        for part in (slice(5 * RATE_HZ, 10 * RATE_HZ), slice(12 * RATE_HZ, None))
    ]
    assert lowered_db[1] < lowered_db[0] + 1.0
