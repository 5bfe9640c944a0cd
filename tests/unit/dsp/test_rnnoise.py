"""RNNoise rebuilt: the same bits on every processor, no frame hears another, and the wheel's own loop agrees."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dsp.audio import Samples
from dsp.rnnoise import RnNoise, levels
from dsp.rnnoise_library import LibraryRnNoise
from tests.support.chains import spoken
from tests.support.streams import BLOCKS, through

RATES_HZ = [8_000, 11_025, 16_000, 44_100, 48_000]


def _noise(frames: int, channels: int = 2) -> Samples:
    return np.random.default_rng(4).normal(0, 0.05, (frames, channels)).astype(np.float32)


def _residual_db(found: Samples, expected: Samples) -> float:
    difference, reference = (
        float(np.sum(part.astype(np.float64) ** 2)) for part in (found - expected, expected)
    )
    return 10 * float(np.log10(difference / reference + 1e-30))


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 48_000])
def test_every_level_of_processor_gives_the_same_bits(sample_rate_hz: int) -> None:
    samples = np.concatenate((spoken("invoice", 2.0), _noise(8_000)))
    plain, *others = (
        through(RnNoise(sample_rate_hz, 2, level=level), samples).tobytes() for level in levels()
    )
    assert levels()[0] == "plain"
    assert all(other == plain for other in others)


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize("make", [RnNoise, LibraryRnNoise])
def test_length_and_silence_stay(make: type[RnNoise | LibraryRnNoise], sample_rate_hz: int) -> None:
    for frames in (0, 1, 79, 4_001):
        out = through(make(sample_rate_hz, 2), np.zeros((frames, 2), dtype=np.float32))
        assert out.shape == (frames, 2)
        assert not out.any()


@pytest.mark.parametrize("make", [RnNoise, LibraryRnNoise])
@pytest.mark.parametrize("block_frames", BLOCKS)
def test_how_the_stream_is_cut_changes_not_one_bit(
    make: type[RnNoise | LibraryRnNoise], block_frames: int
) -> None:
    samples = _noise(3_001)
    assert (
        through(make(8_000, 2), samples, block_frames).tobytes() == through(make(8_000, 2), samples).tobytes()
    )


@pytest.mark.parametrize("frames_of_10_ms", [1, 2, 10, 31, 40])
def test_no_frame_hears_one_that_is_computed_beside_it(frames_of_10_ms: int) -> None:
    """Frames go through transforms in groups; which group a frame is in must not be heard."""
    samples = spoken("appointment", 3.0)
    silence = np.zeros((80 * frames_of_10_ms, 2), dtype=np.float32)
    expected = through(RnNoise(8_000, 2, mix=0.0), samples)
    found = through(RnNoise(8_000, 2, mix=0.0), np.concatenate((silence, samples)))[len(silence) :]
    assert _residual_db(found, expected) < -120


def test_what_is_kept_of_the_original_is_the_original() -> None:
    """With all of it kept nothing changes, and a share of it is that share."""
    samples = spoken("hotel", 2.0)
    assert np.array_equal(through(RnNoise(8_000, 2, mix=1.0), samples), samples)
    none, third = (through(RnNoise(8_000, 2, mix=mix), samples) for mix in (0.0, 1 / 3))
    assert np.allclose(third, none * 2 / 3 + samples / 3, atol=1e-6)


@pytest.mark.parametrize("make", [RnNoise, LibraryRnNoise])
def test_steady_noise_is_lowered(make: type[RnNoise | LibraryRnNoise]) -> None:
    """By 10 dB and more after two seconds, with a fifth of it kept: 14 dB are the most there can be."""
    samples = _noise(40_000, 1)
    lowered_db = 20 * np.log10(np.std(through(make(8_000, 1), samples)[16_000:]) / np.std(samples[16_000:]))
    assert -14.5 < lowered_db < -10


@pytest.mark.parametrize(
    "make",
    [
        lambda: RnNoise(7_999, 1),
        lambda: RnNoise(8_000, 9),
        lambda: RnNoise(8_000, 1, mix=1.1),
        lambda: RnNoise(8_000, 1, level="mmx"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], RnNoise]) -> None:
    with pytest.raises(ValueError, match=r"must be|this processor has"):
        make()


def test_it_agrees_with_the_wheels_own_loop() -> None:
    """Sample by sample, pitch filter and all, on a party whose sound the network is sure of; no delay between them."""
    samples = spoken("invoice", 12.0)[:, [1]]
    library = through(LibraryRnNoise(8_000, 1, mix=0.0), samples)
    own = through(RnNoise(8_000, 1, mix=0.0, pitch_filter=True), samples)
    assert _residual_db(own, library) < -20
    assert _residual_db(samples, library) > -18
