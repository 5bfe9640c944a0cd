"""RNNoise rebuilt: the laws of a filter, the same bits on every processor, and weights that are checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsp import rnnoise_model
from dsp.audio import Samples
from dsp.rnnoise import LEVELS, RnNoise, RnNoiseUnavailable, band_gains, levels
from dsp.rnnoise_library import LibraryRnNoise
from dsp.rnnoise_model import PAIR_LIMIT, dense, library_path, read_arrays, wide
from dsp.rnnoise_rates import Decimator, Interpolator
from dsp.rnnoise_tables import NATIVE_RATES_HZ
from dsp.streams import Filter

EXAMPLES = Path(__file__).parents[3] / "examples"
OTHER_RATES_HZ = (11_025, 22_050, 44_100)
Kind = Callable[..., Filter]

every_kind = pytest.mark.parametrize("kind", [RnNoise, LibraryRnNoise])
every_native_rate = pytest.mark.parametrize("rate_hz", NATIVE_RATES_HZ)


def _call(seconds: float, rate_hz: int = 8_000) -> Samples:
    """Two parties of an example call from its third second on, with noise added; interpolated at other rates."""
    speech, own_hz = soundfile.read(EXAMPLES / "hotel.wav", dtype="float32", always_2d=True)
    at = 2 * own_hz + np.arange(round(seconds * rate_hz)) * own_hz / rate_hz
    leg = np.stack([np.interp(at, np.arange(len(speech)), channel) for channel in speech.T], axis=1)
    noise = np.random.default_rng(4).normal(0, 0.01, (round(seconds * own_hz), 2))
    noise = np.stack(
        [np.interp(at, 2 * own_hz + np.arange(len(noise)), channel) for channel in noise.T], axis=1
    )
    samples: Samples = (leg + noise).astype(np.float32)
    return samples


def _through(through: Filter, samples: Samples, block: int = 1 << 30) -> Samples:
    blocks = [samples[start : start + block] for start in range(0, len(samples), block)]
    return np.concatenate([*map(through.push, blocks), through.finish()])


@every_kind
@pytest.mark.parametrize("rate_hz", [*NATIVE_RATES_HZ, *OTHER_RATES_HZ])
def test_as_many_frames_come_out_as_go_in(kind: Kind, rate_hz: int) -> None:
    for frames in (0, 1, 79, 481, rate_hz // 2 + 1):
        assert _through(kind(rate_hz, 1), _call(1, rate_hz)[:frames, :1]).shape == (frames, 1)


@every_native_rate
def test_the_whole_original_kept_is_the_original(rate_hz: int) -> None:
    samples = _call(1, rate_hz)
    assert np.array_equal(_through(RnNoise(rate_hz, 2, mix=1.0), samples), samples)


@every_kind
@pytest.mark.parametrize("rate_hz", [*NATIVE_RATES_HZ, *OTHER_RATES_HZ])
def test_there_is_no_delay(kind: Kind, rate_hz: int) -> None:
    """The denoised call fits the call best where it is."""
    samples = _call(4, rate_hz)[:, :1]
    denoised = _through(kind(rate_hz, 1, mix=0.0), samples)[:, 0]
    reach = rate_hz // 100
    middle = denoised[reach:-reach]
    fits = [middle @ samples[reach + lag :, 0][: len(middle)] for lag in range(-reach, reach + 1)]
    assert abs(int(np.argmax(fits)) - reach) <= rate_hz // 48_000  # its high-pass turns the phase by so much


@every_kind
@pytest.mark.parametrize("rate_hz", [*NATIVE_RATES_HZ, *OTHER_RATES_HZ])
def test_silence_stays_silence(kind: Kind, rate_hz: int) -> None:
    assert not _through(kind(rate_hz, 2), np.zeros((rate_hz, 2), np.float32)).any()


@every_kind
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 48_000])
@settings(max_examples=4, deadline=None)
@given(block=st.sampled_from([7, 160, 4_096, 9_999]))
def test_blocks_do_not_matter(kind: Kind, rate_hz: int, block: int) -> None:
    samples = _call(1.2, rate_hz)
    assert np.array_equal(_through(kind(rate_hz, 2), samples, block), _through(kind(rate_hz, 2), samples))


def test_single_frames_do_not_matter() -> None:
    samples = _call(0.8)
    assert np.array_equal(_through(RnNoise(8_000, 2), samples, 1), _through(RnNoise(8_000, 2), samples))


@every_native_rate
def test_every_level_of_processor_gives_the_same_bits(rate_hz: int) -> None:
    """Those that this processor has, against plain C."""
    samples = _call(1.5, rate_hz)
    expected = _through(RnNoise(rate_hz, 2, level="plain", pitch_filter=True), samples)
    for level in levels():
        found = _through(RnNoise(rate_hz, 2, level=level, pitch_filter=True), samples)
        assert np.array_equal(found, expected), level


def test_every_level_of_processor_gives_the_same_gains() -> None:
    channel = _call(3)[:, 0]
    expected, asked = band_gains(channel, 8_000, level="plain")
    assert asked.any()
    for level in levels():
        assert np.array_equal(band_gains(channel, 8_000, level=level)[0], expected), level


@every_native_rate
@pytest.mark.parametrize("frames", [1, 8, 13, 40])
def test_delaying_by_frames_delays_the_output(rate_hz: int, frames: int) -> None:
    """But for rounding: which frames are transformed together changes with it, and they share nothing else."""
    samples = _call(1.5, rate_hz)
    silence = np.zeros((frames * rate_hz // 100, 2), np.float32)
    expected = _through(RnNoise(rate_hz, 2, pitch_filter=True), samples)
    found = _through(RnNoise(rate_hz, 2, pitch_filter=True), np.concatenate([silence, samples]))
    assert np.abs(found[: len(silence) - rate_hz // 100]).max(initial=0) < 1e-8
    assert np.abs(found[len(silence) :] - expected).max() < 1e-6


def test_a_level_that_is_not_there_is_refused() -> None:
    assert levels()[0] == LEVELS[0]
    with pytest.raises(ValueError, match="this processor has plain"):
        RnNoise(8_000, 1, level="avx10")


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(5)))
def test_channels_are_each_their_own(order: list[int]) -> None:
    """With silence in one, and in parts of another: what comes beside a channel changes none of its bits."""
    call = _call(1.5)
    gap = call[:, :1].copy()
    gap[3_000:9_000] = 0
    samples = np.concatenate([call, gap, np.zeros_like(gap), call[:, 1:] * np.float32(0.1)], axis=1)
    alone = [_through(RnNoise(8_000, 1), samples[:, c : c + 1]) for c in range(5)]
    together = _through(RnNoise(8_000, 5), np.asfortranarray(samples[:, order]))
    assert np.array_equal(together, np.concatenate([alone[c] for c in order], axis=1))


@settings(max_examples=25, deadline=None)
@given(
    samples=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 3_000), st.just(1)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
        fill=st.sampled_from([0.0, 1.0, -1.0, 2.0**-100, 2.0**100]),
    ),
    rate_hz=st.sampled_from(NATIVE_RATES_HZ),
)
def test_whatever_is_finite_stays_so_and_the_input_as_it_is(samples: Samples, rate_hz: int) -> None:
    before = samples.copy()
    assert np.isfinite(_through(RnNoise(rate_hz, 1, pitch_filter=True), samples)).all()
    assert np.array_equal(samples, before)


@every_native_rate
def test_noise_is_taken_away_and_speech_is_not(rate_hz: int) -> None:
    noisy = _call(8, rate_hz)[:, :1]
    denoised = _through(RnNoise(rate_hz, 1, mix=0.0), noisy)
    power = (noisy.reshape(-1, rate_hz // 50) ** 2).mean(axis=1)
    left = (denoised.reshape(-1, rate_hz // 50) ** 2).mean(axis=1)
    quiet, loud = power < np.quantile(power, 0.2), power > np.quantile(power, 0.9)
    assert 10 * np.log10(left[quiet].mean() / power[quiet].mean()) < -10
    assert 10 * np.log10(left[loud].mean() / power[loud].mean()) > -3


def test_a_share_of_the_original_is_that_share() -> None:
    samples = _call(2)
    none, third = (_through(RnNoise(8_000, 2, mix=mix), samples) for mix in (0.0, 1 / 3))
    assert np.allclose(third, none * 2 / 3 + samples / 3, atol=1e-6)


@every_kind
def test_steady_noise_is_lowered(kind: Kind) -> None:
    """By 10 dB and more after two seconds, with a fifth of it kept: 14 dB are the most there can be."""
    samples = np.random.default_rng(4).normal(0, 0.05, (40_000, 1)).astype(np.float32)
    lowered_db = 20 * np.log10(np.std(_through(kind(8_000, 1), samples)[16_000:]) / np.std(samples[16_000:]))
    assert -14.5 < lowered_db < -10


@pytest.mark.parametrize("wrong", [{"sample_rate_hz": 7_999}, {"channels": 9}, {"channels": 0}, {"mix": 1.1}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    given_ = {"sample_rate_hz": 8_000, "channels": 1, "mix": 0.2} | wrong
    rate_hz, channels, mix = given_["sample_rate_hz"], given_["channels"], given_["mix"]
    with pytest.raises(ValueError, match="must be 8000 to 48000"):
        RnNoise(int(rate_hz), int(channels), mix=mix)


def test_no_sum_of_two_products_can_saturate() -> None:
    """As the kernels for AVX2 need it: 254 times two weights side by side fit into 16 bits."""
    arrays = read_arrays(library_path())
    names = ["conv2", *(f"gru{n}_{side}" for n in (1, 2, 3) for side in ("input", "recurrent"))]
    for name in names:
        pairs = dense(arrays, name).reshape(-1, 2).astype(np.int64) * 254
        assert np.minimum(pairs, 0).sum(axis=1).min() >= -(2**15)
        assert np.maximum(pairs, 0).sum(axis=1).max() < 2**15


def test_weights_that_could_saturate_are_refused() -> None:
    arrays = read_arrays(library_path())
    blocks = arrays["conv2_weights_int8"].copy()
    blocks[:2] = PAIR_LIMIT - 64, 65
    with pytest.raises(RnNoiseUnavailable, match="conv2"):
        dense(arrays | {"conv2_weights_int8": blocks}, "conv2")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(1e-3, 1e3))
def test_weights_of_16_bits_are_exact_to_their_step_and_cannot_overflow(seed: int, spread: float) -> None:
    weights = np.random.default_rng(seed).normal(0, spread, (200, 4)).astype(np.float32)
    rounded, step = wide(weights, 4_097)
    assert np.abs(rounded * step - weights).max(initial=0) <= 0.51 * step.max()
    assert (np.abs(rounded.astype(np.int64)).sum(axis=0) * 4_097).max() < 2**31


@pytest.mark.parametrize("missing", ["conv1_weights_float", "gru2_recurrent_scale", "dense_out_bias"])
def test_weights_that_are_not_those_of_this_version_are_told(missing: str) -> None:
    arrays = read_arrays(library_path())
    del arrays[missing]
    with pytest.raises(RnNoiseUnavailable, match=missing):
        rnnoise_model.build(arrays)


def test_a_library_without_weights_is_told(tmp_path: Path) -> None:
    (tmp_path / "librnnoise.so").write_bytes(b"no library")
    with pytest.raises(RnNoiseUnavailable, match="cannot be loaded"):
        read_arrays(tmp_path / "librnnoise.so")


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_to_48_khz_and_back_a_tone_is_the_same(rate_hz: int) -> None:
    time = np.arange(rate_hz) / rate_hz
    tone = np.sin(2 * np.pi * 0.1 * rate_hz * time).astype(np.float32)[:, None]
    there = Interpolator(rate_hz, 1).resample_chunk(tone, last=True)
    back = Decimator(rate_hz, 1).resample_chunk(there, last=True)
    assert there.shape == (48_000, 1)
    assert np.abs(back - tone)[50:-50].max() < 2e-3
