"""EBU Tech 3341, table 1, cases 15 to 23: peaks between samples, +0.2 / -0.4 dB."""

from __future__ import annotations

import numpy as np
import pytest

from dsp.audio import Samples
from tests.conformance.signals import RATES_HZ, burst, sine
from tests.support.streams import true_peak_dbtp

HIGH_DB, LOW_DB = 0.2, 0.4

SINES: dict[int, tuple[int, float, float, float]] = {
    15: (4, 0.0, 0.5, -6.0),
    16: (4, 45.0, 0.5, -6.0),
    17: (6, 60.0, 0.5, -6.0),
    18: (8, 67.5, 0.5, -6.0),
    19: (4, 45.0, 1.41, 3.0),
}


def _held(found_dbtp: float, expected_dbtp: float) -> None:
    assert expected_dbtp - LOW_DB <= found_dbtp <= expected_dbtp + HIGH_DB


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize("case", SINES)
def test_sines_that_are_sampled_beside_their_peaks(case: int, sample_rate_hz: int) -> None:
    """Case 16 has no sample above -9 dBFS."""
    frames_a_period, phase_deg, amplitude, expected_dbtp = SINES[case]
    _held(true_peak_dbtp(sine(frames_a_period, phase_deg, amplitude), sample_rate_hz), expected_dbtp)


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize("case", [20, 21, 22, 23])
def test_one_loud_period_however_it_is_sampled(case: int, sample_rate_hz: int) -> None:
    samples = burst(case - 20)
    found_dbtp = true_peak_dbtp(samples, sample_rate_hz)
    _held(found_dbtp, 0.0)
    # What the band limit leaves of it is known better than the standard asks.
    assert found_dbtp == pytest.approx(_exact_dbtp(samples), abs=0.06)


def _exact_dbtp(samples: Samples, times: int = 64) -> float:
    """The peak of a signal that is silent at its ends, by its spectrum."""
    wave = samples[:, 0].astype(np.float64)
    return float(20 * np.log10(times * np.abs(np.fft.irfft(np.fft.rfft(wave), wave.size * times)).max()))
