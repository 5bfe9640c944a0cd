"""FFmpeg's denoiser as a filter of ours: no delay, the whole end, the same bits however the stream is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.afftdn import Afftdn
from dsp.audio import Samples
from dsp.stages import Denoise
from tests.support.sounds import rms_db
from tests.support.streams import context_of, run, through

RATES_HZ = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000]


def _noise(frames: int, dbfs: float, seed: int = 0) -> Samples:
    noise: Samples = np.random.default_rng(seed).normal(0.0, 10 ** (dbfs / 20), frames).astype(np.float32)
    return noise


def _words(sample_rate_hz: int, seconds: float = 3.0, noise_dbfs: float = -45.0) -> Samples:
    """Half of each second at -20 dBFS over noise, shape (frames, 1)."""
    frames = round(seconds * sample_rate_hz)
    speaks = np.arange(frames) / sample_rate_hz % 1.0 < 0.5
    words: Samples = (_noise(frames, -20.0) * speaks + _noise(frames, noise_dbfs, seed=1))[:, None]
    return words


def _denoised(samples: Samples, sample_rate_hz: int = 8_000, block_frames: int = 4_096) -> Samples:
    return through(Afftdn(sample_rate_hz, [-45.0] * samples.shape[1]), samples, block_frames)


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
def test_there_is_no_delay_and_the_end_is_there(sample_rate_hz: int) -> None:
    """What comes out lies on what went in, to the sample, and is as long."""
    words = _words(sample_rate_hz)
    out = _denoised(words, sample_rate_hz)
    assert out.shape == words.shape
    spectrum = np.fft.rfft(words[:, 0]).conj() * np.fft.rfft(out[:, 0])
    assert int(np.argmax(np.fft.irfft(spectrum))) == 0
    speech = np.arange(len(words)) / sample_rate_hz % 1.0 < 0.5
    assert rms_db(out[speech] - words[speech]) < rms_db(words[speech]) - 20.0


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("block_frames", [7, 160, 4_096, 100_000])
def test_the_cut_into_blocks_changes_no_bit(sample_rate_hz: int, block_frames: int) -> None:
    words = _words(sample_rate_hz, seconds=1.3)
    whole = _denoised(words, sample_rate_hz, len(words))
    assert _denoised(words, sample_rate_hz, block_frames).tobytes() == whole.tobytes()


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(0, 1_500), block_frames=st.sampled_from([1, 3, 100, 999]))
def test_any_length_comes_out_whole(frames: int, block_frames: int) -> None:
    noise = np.stack([_noise(frames, -30.0), _noise(frames, -50.0, seed=1)], axis=1)
    out = _denoised(noise, block_frames=block_frames)
    assert out.shape == noise.shape
    assert out.dtype == np.float32
    assert out.tobytes() == _denoised(noise, block_frames=2_000).tobytes()


@pytest.mark.parametrize("noise_dbfs", [-75.0, -60.0, -45.0, -30.0])
def test_noise_goes_down_as_far_at_every_level(noise_dbfs: float) -> None:
    """Left to itself the filter takes 0.2 dB of noise at -30 dBFS and 12 dB of noise at -60."""
    noise = _noise(40_000, noise_dbfs)[:, None]
    out = through(Afftdn(8_000, [noise_dbfs]), noise)
    assert rms_db(out[8_000:]) - rms_db(noise[8_000:]) == pytest.approx(-10.0, abs=0.5)


def test_a_channel_does_not_hear_its_neighbour() -> None:
    both = np.concatenate([_words(8_000), _words(8_000, noise_dbfs=-60.0)], axis=1)
    together = _denoised(both)
    for channel in range(2):
        assert np.array_equal(_denoised(both[:, [channel]])[:, 0], together[:, channel])


@pytest.mark.parametrize("frames", [0, 1, 799, 8_000])
def test_silence_stays_silent(frames: int) -> None:
    assert not _denoised(np.zeros((frames, 1), dtype=np.float32)).any()


SHAPES = {
    "offset": np.full(8_000, 0.5),
    "square": np.sign(np.sin(np.arange(8_000) * 0.7)),
    "impulse": np.eye(1, 8_000, 4_000)[0],
    "far over full scale": _noise(8_000, 80.0),
    "absurd": np.where(np.arange(8_000) < 4_000, _noise(8_000, -30.0), _noise(8_000, 600.0)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_goes_in_finite_numbers_come_out(shape: str) -> None:
    assert np.isfinite(_denoised(SHAPES[shape].astype(np.float32)[:, None])).all()


def test_the_stage_tells_it_the_level_that_was_measured() -> None:
    """The same call twenty decibels down comes out as it does, twenty decibels down."""
    words = _words(8_000, seconds=6.0)
    stage = Denoise(method="afftdn")
    loud, quiet = run(stage, words), run(stage, words * np.float32(0.1)) * np.float32(10.0)
    assert rms_db(loud - quiet) < rms_db(loud) - 60.0
    context = context_of(words)
    stage.open(context)
    assert (context.denoise[0].method, context.denoise[0].applied) == ("afftdn", True)
