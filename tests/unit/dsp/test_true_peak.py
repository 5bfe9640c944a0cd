"""True peak: what lies between the samples, found without looking everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp import Pause
from dsp.audio import Samples
from dsp.true_peak import TruePeakMeter, interpolator, oversampling
from tests.support.streams import BLOCKS, heard, true_peak_dbtp


def _sine(frequency_hz: float, sample_rate_hz: int, phase: float = 0.0) -> Samples:
    """4000 frames that begin and end softly, shape (frames, 1)."""
    time_s = np.arange(4_000) / sample_rate_hz
    edges = np.minimum(1.0, np.minimum(np.arange(4_000), np.arange(4_000)[::-1]) / 400)
    wave: Samples = (edges * np.sin(2 * np.pi * frequency_hz * time_s + phase)).astype(np.float32)[:, None]
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
    wave = _sine(part * sample_rate_hz, sample_rate_hz, phase)
    assert true_peak_dbtp(wave, sample_rate_hz) == pytest.approx(0.0, abs=0.1)


def test_between_two_samples_of_a_quarter_of_the_rate_lie_3_db() -> None:
    """The textbook's case: every sample at 0.707, the wave at 1."""
    wave = _sine(2_000, 8_000, np.pi / 4)
    assert np.abs(wave).max() == pytest.approx(np.sqrt(0.5), abs=1e-3)
    assert true_peak_dbtp(wave) == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("block_frames", BLOCKS)
def test_how_the_stream_is_cut_changes_nothing(block_frames: int) -> None:
    samples = np.random.default_rng(3).normal(0, 0.2, (5_000, 3)).astype(np.float32)
    whole, cut = TruePeakMeter(8_000, 3), TruePeakMeter(8_000, 3)
    heard(whole, samples)
    heard(cut, samples, block_frames)
    assert np.array_equal(whole.finish(), cut.finish())


@given(seed=st.integers(0, 2**32), frames=st.integers(1, 2_000), spread=st.sampled_from([0, 1, 3, 8]))
def test_the_bound_never_hides_the_peak(seed: int, frames: int, spread: int) -> None:
    """Against the same interpolation done everywhere, on noise of any dynamics."""
    generator = np.random.default_rng(seed)
    wave = (generator.normal(0, 0.2, frames) * generator.uniform(0, 1, frames) ** spread).astype(np.float32)
    taps = np.array(interpolator(8_000).taps).reshape(-1, 16)
    padded = np.pad(wave, (19, 20))
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(taps))[:frames]
    everywhere = np.abs(windows @ taps).max(initial=0.0)
    assert 10 ** (true_peak_dbtp(wave[:, None]) / 20) == pytest.approx(everywhere, rel=1e-5, abs=1e-12)


def test_what_lies_in_a_pause_does_not_count() -> None:
    samples = 0.1 * np.tile(_sine(440.0, 8_000), (8, 1))
    samples[10_000:12_000] = 0.9
    meter = TruePeakMeter(8_000, 1, (Pause(1.2, 1.6),))
    heard(meter, samples, 777)
    assert 20 * np.log10(meter.finish()[0]) == pytest.approx(-20.0, abs=0.1)
