"""Laws of whole chains: what may be said of the output without knowing what a stage does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.errors import NoAudio
from tests.support.chains import cleaned, residual_db, spoken
from tests.support.recordings import TelephoneCall

LEVELLED = ["normalize", "limit"]
DENOISERS = ["auto", "rnnoise", "omlsa", "logmmse", "spectral_gate", "afftdn", "none"]
EVERYTHING: list[Any] = ["highpass", "dehum", "denoise", "compress", "normalize", "limit"]
CHAINS: dict[str, list[Any]] = {
    "nothing": [],
    "default": ["denoise", *LEVELLED],
    "fast": [{"denoise": {"method": "omlsa"}}, *LEVELLED],
    "everything": EVERYTHING,
}

every_chain = pytest.mark.parametrize("stages", CHAINS.values(), ids=CHAINS)


def _call(seconds: float, seed: int = 3) -> Samples:
    return TelephoneCall(call_id="c", seed=seed, frames=round(seconds * 8_000)).samples()


LINEAR: list[list[Any]] = [[], ["highpass"], ["dehum"], ["highpass", "dehum"]]


@pytest.mark.parametrize("stages", LINEAR, ids=str)
@settings(max_examples=6, deadline=None)
@given(gain=st.floats(0.05, 0.95), seed=st.integers(0, 2**32 - 1))
def test_a_linear_chain_is_linear_in_gain(stages: list[Any], gain: float, seed: int) -> None:
    """A hum lies under the call, so that what removes it has something to do."""
    hum = 0.02 * np.sin(2 * np.pi * 50 * np.arange(24_000) / 8_000)[:, None]
    samples = (_call(3.0, seed) + hum).astype(np.float32)
    loud, quiet = (cleaned(samples * np.float32(by), stages).samples for by in (1.0, gain))
    assert residual_db(loud * np.float32(gain), quiet) < -80


@settings(max_examples=8, deadline=None)
@given(gain_db=st.floats(-20, 20))
def test_how_loud_a_recording_was_does_not_matter_to_a_chain_that_levels(gain_db: float) -> None:
    """Float files may go over full scale."""
    samples = _call(3.0)
    gain = np.float32(10 ** (gain_db / 20))
    stages = [{"normalize": {"max_gain_db": 60}}, "limit"]
    first, second = (cleaned(samples * by, stages).samples for by in (np.float32(1.0), gain))
    assert residual_db(first, second) < -50  # the loudness is met within 0.005 LU, which is -65 dB


# Frames by which a method cuts the sound at 8 kHz. The noise that some take from the whole recording is decided on
# frames of 20 ms.
HOPS = {"rnnoise": 80, "omlsa": 128, "logmmse": 128, "none": 1}
ON_DECISIONS = {"auto": 160, "spectral_gate": 640, "afftdn": 800}


@pytest.mark.parametrize("method", DENOISERS)
@pytest.mark.parametrize("name", ["appointment", "invoice"])
def test_delaying_the_input_delays_the_output(name: str, method: str) -> None:
    """By a multiple of the hop and of 100 ms: 400 ms and 2 s. Residual after a second below -60 dB."""
    samples = spoken(name, 8.0)
    stages = [{"denoise": {"method": method}}]
    expected = cleaned(samples, stages).samples
    for delay in (3_200, 16_000):
        delayed = np.concatenate([np.zeros((delay, 2), dtype=np.float32), samples])
        found = cleaned(delayed, stages).samples
        assert not found[: delay - 2_000].any()
        assert residual_db(expected[8_000:], found[delay + 8_000 :]) < -60


@pytest.mark.parametrize("method", HOPS | ON_DECISIONS)
def test_a_single_hop_of_delay_is_enough(method: str) -> None:
    samples = spoken("hotel", 6.0)
    stages = [{"denoise": {"method": method}}]
    delay = (HOPS | ON_DECISIONS)[method]
    delayed = np.concatenate([np.zeros((delay, 2), dtype=np.float32), samples])
    expected, found = (cleaned(sound, stages).samples for sound in (samples, delayed))
    assert residual_db(expected[8_000:], found[delay + 8_000 :]) < -60


@pytest.mark.parametrize("delay", [800, 8_000, 24_000])
def test_the_default_chain_delays_with_its_input(delay: int) -> None:
    """By any multiple of 100 ms, gains and limiter and all.

    What begins at once is quieter where something silent stands before it, by BS.1770's own blocks of 400 ms; so there
    are 400 ms of silence first.
    """
    samples = np.concatenate([np.zeros((3_200, 2), dtype=np.float32), spoken("appointment", 8.0)])
    expected = cleaned(samples, CHAINS["default"]).samples
    delayed = np.concatenate([np.zeros((delay, 2), dtype=np.float32), samples])
    found = cleaned(delayed, CHAINS["default"]).samples
    assert residual_db(expected[8_000:], found[delay + 8_000 :]) < -60


@every_chain
@pytest.mark.parametrize("independent", [True, False])
def test_channels_keep_their_order(stages: list[Any], independent: bool) -> None:
    """Four parties, told apart by what they say."""
    samples = np.concatenate([spoken("appointment", 4.0), spoken("router", 4.0)], axis=1)
    found = cleaned(samples, stages, independent=independent).samples
    likeness = np.corrcoef(samples.T, found.T)[:4, 4:]
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3]


@every_chain
def test_parties_in_another_order_come_out_in_another_order(stages: list[Any]) -> None:
    """Bit for bit, where each is levelled alone."""
    samples = spoken("hotel", 4.0)
    first, second = (cleaned(sound, stages).samples for sound in (samples, samples[:, ::-1]))
    assert np.array_equal(first, second[:, ::-1])


@every_chain
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_silent_channel_changes_no_other(stages: list[Any], place: int) -> None:
    """Bit for bit, where each is levelled alone."""
    samples = spoken("breakdown", 4.0)
    with_silence = np.insert(samples, place, 0.0, axis=1)
    alone, beside = (cleaned(sound, stages).samples for sound in (samples, with_silence))
    assert not beside[:, place].any()
    assert np.array_equal(np.delete(beside, place, axis=1), alone)


@pytest.mark.parametrize("method", DENOISERS)
def test_a_silent_channel_changes_no_other_with_any_denoiser(method: str) -> None:
    samples = spoken("breakdown", 3.0)
    stages = [{"denoise": {"method": method}}]
    alone, beside = (
        cleaned(sound, stages).samples for sound in (samples, np.insert(samples, 1, 0.0, axis=1))
    )
    assert np.array_equal(beside[:, [0, 2]], alone)


@st.composite
def _anything(draw: st.DrawFn) -> NDArray[np.float32]:
    """Finite samples of any size."""
    frames, channels = draw(st.integers(1, 9_000)), draw(st.integers(1, 3))
    scale = 10.0 ** draw(st.floats(-30, 38))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).uniform(-1.0, 1.0, (frames, channels))
    shaped = {
        "noise": noise,
        "square": np.sign(noise),
        "impulses": noise * (np.arange(frames) % 700 == 0)[:, None],
        "offset": 0.1 * noise + 0.9,
        "bursts": noise * (np.arange(frames) // 1_500 % 2)[:, None],
    }
    samples: NDArray[np.float32] = (scale * shaped[draw(st.sampled_from(sorted(shaped)))]).astype(np.float32)
    return samples


@every_chain
@settings(max_examples=15, deadline=None)
@given(samples=_anything(), independent=st.booleans())
def test_whatever_finite_goes_in_what_comes_out_is_within_full_scale(
    stages: list[Any], samples: NDArray[np.float32], independent: bool
) -> None:
    found = cleaned(samples, stages, independent=independent)
    assert found.samples.shape == samples.shape
    assert np.isfinite(found.samples).all()
    assert np.abs(found.samples).max() <= 1.0
    for channel in (*found.report.before.channels, *found.report.renditions[0].after.channels):
        assert channel.true_peak_dbtp is None or np.isfinite(channel.true_peak_dbtp)


@every_chain
@settings(max_examples=8, deadline=None)
@given(
    at=st.lists(st.integers(0, 15_999), min_size=1, max_size=20, unique=True),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_what_is_no_number_is_zero_and_told(stages: list[Any], at: list[int], bad: float) -> None:
    """As if zeros had stood there: bit for bit."""
    samples = _call(2.0)
    samples[at, 1] = 0.0
    expected = cleaned(samples, stages)
    samples[at, 1] = bad
    found = cleaned(samples, stages)
    assert np.array_equal(found.samples, expected.samples)
    assert found.warned == [("not_finite", 1), *expected.warned]
    assert f"{len(at)} samples" in found.report.warnings[0].message


@every_chain
def test_without_a_frame_there_is_no_audio(stages: list[Any]) -> None:
    with pytest.raises(NoAudio):
        cleaned(np.zeros((0, 2), dtype=np.float32), stages)


@every_chain
@pytest.mark.parametrize("frames", [1, 79, 160, 3_192, 3_208])
def test_short_recordings_pass(stages: list[Any], frames: int) -> None:
    """One frame, 399 ms, which has no loudness and keeps its level, and 401 ms, which has one."""
    samples = np.full((frames, 1), 0.1, dtype=np.float32)
    samples += np.random.default_rng(4).normal(0, 0.05, samples.shape).astype(np.float32)
    found = cleaned(samples, stages)
    after = found.report.renditions[0].after.channels[0]
    assert found.samples.shape == samples.shape
    assert (after.integrated_lufs is None) == (frames < 3_200)
    if frames < 3_200:
        assert ("loudness_undefined", 0) in found.warned
    if stages == CHAINS["nothing"]:
        assert np.abs(found.samples - samples).max() < 2**-23


def test_what_has_no_loudness_keeps_its_level() -> None:
    """399 ms, a single frame, and what lies below -70 LUFS."""
    for samples in (_call(0.399), _call(0.399)[:1], _call(3.0) * np.float32(1e-4)):
        assert np.abs(cleaned(samples, LEVELLED).samples - samples).max() < 2**-23


def _shape(name: str) -> Samples:
    wave = {
        "all zero": np.zeros(24_000),
        "full-scale square": np.sign(np.sin(2 * np.pi * 200 * (np.arange(24_000) + 0.5) / 8_000)),
        "single impulse": (np.arange(24_000) == 12_000).astype(np.float64),
        "DC": np.full(24_000, 0.5),
        "DC at full scale": np.full(24_000, -1.0),
    }[name]
    return np.repeat(wave[:, None], 2, axis=1).astype(np.float32)


@every_chain
@pytest.mark.parametrize(
    "name", ["all zero", "full-scale square", "single impulse", "DC", "DC at full scale"]
)
def test_odd_shapes_pass(stages: list[Any], name: str) -> None:
    """No error, no number without end; silence stays, and a ceiling holds."""
    samples = _shape(name)
    found = cleaned(samples, stages)
    assert found.samples.shape == samples.shape
    assert np.isfinite(found.samples).all()
    if name == "all zero":
        assert not found.samples.any()
        assert found.warned == [("silent", 0), ("silent", 1)]
    if "limit" in stages:
        true_peak_dbtp = found.report.renditions[0].after.programme.true_peak_dbtp
        assert true_peak_dbtp is None or true_peak_dbtp < -1.45
    if stages == CHAINS["nothing"]:
        assert np.abs(found.samples - samples).max() <= 2**-23


def test_an_impulse_stays_where_it_is() -> None:
    """Through all stages: no delay, no echo before it louder than a hundredth."""
    for stages in CHAINS.values():
        out = np.abs(cleaned(_shape("single impulse"), stages).samples[:, 0])
        assert out.argmax() == 12_000
        assert out[:11_900].max() < 0.01 * out[12_000]
