"""True peak: what lies between the samples, found without looking everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp.audio import Samples
from dsp.true_peak import inter_sample_peaks, oversampling


def _sine(frequency_hz: float, sample_rate_hz: int, phase: float = 0.0) -> Samples:
    time_s = np.arange(4_000) / sample_rate_hz
    wave: Samples = np.sin(2 * np.pi * frequency_hz * time_s + phase).astype(np.float32)
    return wave


@pytest.mark.parametrize(
    ("sample_rate_hz", "at_least"), [(8_000, 16), (16_000, 16), (32_000, 8), (48_000, 4)]
)
def test_low_rates_are_looked_at_more_closely(sample_rate_hz: int, at_least: int) -> None:
    """BS.1770-5, annex 2, asks for 192 kHz at least."""
    assert oversampling(sample_rate_hz) >= at_least
    assert oversampling(sample_rate_hz) * sample_rate_hz >= 128_000


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 32_000, 48_000])
@pytest.mark.parametrize("part", [0.05, 0.25, 0.425, 0.45])
@pytest.mark.parametrize("phase", [0.0, 0.3, np.pi / 4])
def test_a_sine_peaks_at_its_amplitude(sample_rate_hz: int, part: float, phase: float) -> None:
    """Whatever its phase to the samples, up to 0.9 of half the rate; Tech 3341 asks for +0.2 to -0.4 dB."""
    wave = _sine(part * sample_rate_hz, sample_rate_hz, phase)[100:-100]
    peak = inter_sample_peaks(wave, sample_rate_hz)[100:-100].max()
    assert 20 * np.log10(peak) == pytest.approx(0.0, abs=0.1)


def test_between_two_samples_of_a_quarter_of_the_rate_lie_3_db() -> None:
    """The textbook's case: every sample at 0.707, the wave at 1."""
    wave = _sine(2_000, 8_000, np.pi / 4)
    assert np.abs(wave).max() == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert inter_sample_peaks(wave, 8_000)[100:-100].max() == pytest.approx(1.0, abs=2e-3)


@given(seed=st.integers(0, 2**32), frames=st.integers(0, 2_000), share=st.floats(0.0, 1.2))
def test_what_is_of_interest_is_found_exactly(seed: int, frames: int, share: float) -> None:
    """The bound never hides a peak that matters, and no value is below its sample."""
    generator = np.random.default_rng(seed)
    wave = (generator.normal(0, 0.2, frames) * generator.uniform(0, 1, frames) ** 3).astype(np.float32)
    everywhere = inter_sample_peaks(wave, 8_000, of_interest=-1.0)
    of_interest = share * float(np.abs(wave).max(initial=0.0))
    found = inter_sample_peaks(wave, 8_000, of_interest=of_interest)
    assert found.shape == wave.shape
    assert (found >= np.abs(wave)).all()
    matters = everywhere > of_interest
    assert np.allclose(found[matters], everywhere[matters], rtol=1e-5, atol=0)
