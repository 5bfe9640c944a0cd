"""The high-pass: what it takes and what it leaves, and the laws of every filter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt

from dsp.audio import Samples
from dsp.stages.highpass import HighPass, butterworth
from tests.support.sounds import example, rms_db
from tests.support.streams import context_of, run, through

RATES_HZ = [8_000, 11_025, 16_000, 44_100, 48_000]


def _tone(frequency_hz: float, sample_rate_hz: int, seconds: float = 2.0) -> Samples:
    time_s = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    tone: Samples = (0.1 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)[:, None]
    return tone


def _noise(frames: int, channels: int = 2) -> Samples:
    noise: Samples = np.random.default_rng(0).normal(0.0, 0.1, (frames, channels)).astype(np.float32)
    return noise


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize("order", [1, 2, 4, 5, 8])
def test_each_octave_below_the_cutoff_costs_6_db_an_order(order: int, sample_rate_hz: int) -> None:
    """3 dB at the cutoff, by Butterworth's law below, nothing well above."""
    for ratio in (0.25, 0.5, 1.0, 10.0):
        tone = _tone(80.0 * ratio, sample_rate_hz)
        out = run(HighPass(order=order), tone, sample_rate_hz)
        settled = slice(len(tone) // 2, None)
        expected_db = -10 * np.log10(1 + ratio ** (-2 * order))
        assert rms_db(out[settled]) - rms_db(tone[settled]) == pytest.approx(expected_db, abs=0.1)


@pytest.mark.parametrize("order", range(1, 9))
def test_it_is_the_filter_that_scipy_designs(order: int) -> None:
    noise = _noise(8_000)
    expected = sosfilt(butter(order, 120.0, "highpass", fs=8_000, output="sos"), noise.astype(float), axis=0)
    out = run(HighPass(cutoff_hz=120.0, order=order), noise)
    assert np.abs(out - expected).max() < 1e-7


@pytest.mark.parametrize("sample_rate_hz", [8_000, 48_000])
@pytest.mark.parametrize("cutoff_hz", [20.0, 400.0])
@pytest.mark.parametrize("order", [1, 8])
def test_it_is_stable_at_its_limits(sample_rate_hz: int, cutoff_hz: float, order: int) -> None:
    for *_, a1, a2 in butterworth(cutoff_hz, order, sample_rate_hz):
        assert np.abs(np.roots([1.0, a1, a2])).max() < 1.0
    out = run(HighPass(cutoff_hz=cutoff_hz, order=order), np.ones((10 * sample_rate_hz, 1), np.float32))
    assert np.abs(out[-100:]).max() < 1e-6


def test_speech_is_not_late() -> None:
    """What comes out lies on what went in, to the sample."""
    for channel in example("router").T:
        out = run(HighPass(), channel[:, None])[:, 0]
        spectrum = np.fft.rfft(channel).conj() * np.fft.rfft(out)
        assert int(np.argmax(np.fft.irfft(spectrum))) == 0


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("block_frames", [1, 7, 160, 4_096, 100_000])
def test_the_cut_into_blocks_changes_no_bit(sample_rate_hz: int, block_frames: int) -> None:
    noise = _noise({1: 3_000, 7: 10_000}.get(block_frames, 110_000), 3)
    noise[len(noise) // 2 :] = 0.0
    whole = run(HighPass(), noise, sample_rate_hz, block_frames=len(noise))
    assert whole.shape == noise.shape
    assert whole.dtype == np.float32
    assert run(HighPass(), noise, sample_rate_hz, block_frames=block_frames).tobytes() == whole.tobytes()


def test_a_channel_does_not_hear_its_neighbour() -> None:
    noise = _noise(8_000, 3)
    together = run(HighPass(), noise)
    for channel in range(3):
        assert np.array_equal(run(HighPass(), noise[:, [channel]]), together[:, [channel]])


@pytest.mark.parametrize("frames", [0, 1, 399, 8_000])
def test_silence_stays_silent(frames: int) -> None:
    out = run(HighPass(), np.zeros((frames, 2), dtype=np.float32))
    assert out.shape == (frames, 2)
    assert not out.any()


def test_silence_after_a_sound_becomes_silence_again() -> None:
    """It rings for a moment, and ends in exact zeros."""
    sound = _noise(80_000)
    sound[8_000:] = 0.0
    assert not run(HighPass(), sound)[40_000:].any()


@settings(max_examples=30, deadline=None)
@given(
    gain=st.sampled_from([0.25, 2.0, 1024.0]),
    cutoff_hz=st.floats(20.0, 400.0),
    order=st.integers(1, 8),
    late=st.integers(1, 300),
)
def test_it_is_linear_and_does_not_know_the_time(
    gain: float, cutoff_hz: float, order: int, late: int
) -> None:
    """Twice as much in is twice as much out, to the bit; what comes later comes out later."""
    stage, noise = HighPass(cutoff_hz=cutoff_hz, order=order), _noise(2_000, 1)
    out = run(stage, noise)
    assert np.array_equal(run(stage, noise * np.float32(gain)), out * np.float32(gain))
    delayed = run(stage, np.concatenate([np.zeros((late, 1), np.float32), noise]))
    assert np.abs(delayed[late:] - out).max() < 1e-7


SHAPES = {
    "offset": np.full((8_000, 1), 0.5),
    "square": np.sign(_noise(8_000, 1)),
    "impulse": np.eye(8_000, 1, -4_000),
    "absurd": np.sign(_noise(8_000, 1)) * 3e38,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_goes_in_finite_numbers_come_out(shape: str) -> None:
    sound = SHAPES[shape].astype(np.float32)
    before = sound.copy()
    out = through(HighPass(order=8, cutoff_hz=400.0).open(context_of(np.zeros_like(sound))), sound)
    assert np.isfinite(out).all()
    assert np.array_equal(sound, before)
