"""The laws that every stage keeps. A stage of the registry is held to them without anybody remembering it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsp import Pause
from dsp.audio import Samples
from dsp.stages import REGISTRY, Compress, DeHum, Denoise, HighPass, Stage, Trim
from tests.support.recordings import TelephoneCall
from tests.support.streams import BLOCKS, run

# How to make each stage; whoever adds one says here with which options it is held to the laws.
EXAMPLES: dict[str, list[Stage]] = {
    "trim": [Trim()],
    "highpass": [HighPass()],
    "dehum": [DeHum()],
    "denoise": [
        Denoise(),
        Denoise(method="rnnoise"),
        Denoise(method="omlsa"),
        Denoise(method="logmmse"),
        Denoise(method="spectral_gate"),
        Denoise(method="afftdn"),
        Denoise(method="none"),
    ],
    "compress": [Compress()],
    "normalize": [REGISTRY["normalize"]()],
    "limit": [REGISTRY["limit"]()],
}
STAGES = [stage for examples in EXAMPLES.values() for stage in examples]
RATES_HZ = [8_000, 11_025, 16_000, 44_100, 48_000]

every_stage = pytest.mark.parametrize("stage", STAGES, ids=repr)
linked_or_not = pytest.mark.parametrize("linked", [False, True])


def _call(seconds: float = 6.0, sample_rate_hz: int = 8_000, channels: int = 2) -> Samples:
    samples = TelephoneCall(call_id="c", seed=7, frames=round(seconds * sample_rate_hz)).samples()
    return np.repeat(samples, (channels + 1) // 2, axis=1)[:, :channels]


def test_every_registered_stage_is_held_to_the_laws() -> None:
    assert list(EXAMPLES) == list(REGISTRY)


@every_stage
@linked_or_not
@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
def test_shape_and_type_stay(stage: Stage, linked: bool, sample_rate_hz: int) -> None:
    """As many frames and channels as went in, as finite float32."""
    samples = _call(2.0, sample_rate_hz, channels=3)
    out = run(stage, samples, sample_rate_hz, linked=linked)
    assert out.shape == samples.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()


@every_stage
def test_the_output_is_the_same_every_time(stage: Stage) -> None:
    """The input cannot be changed: ``run`` hands out blocks that nobody may write to."""
    samples = _call()
    first, second = (run(stage, samples) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@every_stage
@pytest.mark.parametrize("block_frames", BLOCKS)
def test_how_the_stream_is_cut_changes_not_one_bit(stage: Stage, block_frames: int) -> None:
    samples = _call(1.5 if block_frames < 100 else 8.0)
    assert run(stage, samples, block_frames=block_frames).tobytes() == run(stage, samples).tobytes()


@every_stage
@linked_or_not
@pytest.mark.parametrize("frames", [0, 1, 79, 3_199, 3_208, 8_000])
def test_silence_stays_silent(stage: Stage, linked: bool, frames: int) -> None:
    """Also of no length, and shorter than any block."""
    out = run(stage, np.zeros((frames, 2), dtype=np.float32), linked=linked)
    assert out.shape == (frames, 2)
    assert not out.any()


@every_stage
def test_a_silent_party_stays_silent_beside_one_that_speaks(stage: Stage) -> None:
    samples = _call()
    samples[:, 1] = 0.0
    out = run(stage, samples)
    assert out[:, 0].any()
    assert not out[:, 1].any()


@every_stage
def test_there_is_no_delay(stage: Stage) -> None:
    """What comes out lies on what went in: their correlation is greatest at a lag of 0."""
    samples = _call()
    out = run(stage, samples)
    for channel in range(2):
        spectrum = np.fft.rfft(samples[:, channel]).conj() * np.fft.rfft(out[:, channel])
        assert int(np.argmax(np.fft.irfft(spectrum))) == 0


@every_stage
def test_a_channel_does_not_hear_its_neighbour(stage: Stage) -> None:
    """Independent channels come out as if each had been alone."""
    samples = _call()
    together = run(stage, samples)
    for channel in range(2):
        assert np.array_equal(run(stage, samples[:, [channel]])[:, 0], together[:, channel])


@every_stage
def test_linked_channels_keep_their_balance(stage: Stage) -> None:
    """Where all get one gain, equal channels stay equal."""
    out = run(stage, np.repeat(_call(channels=1), 2, axis=1), linked=True)
    assert np.array_equal(out[:, 0], out[:, 1])


@every_stage
def test_a_pause_over_everything_breaks_nothing(stage: Stage) -> None:
    assert np.isfinite(run(stage, _call(), pauses=(Pause(0.0, 1e9),))).all()


@st.composite
def _anything(draw: st.DrawFn) -> NDArray[np.float32]:
    frames = draw(st.integers(0, 3_000))
    scale = 10.0 ** draw(st.floats(-6, 1))
    noise = np.random.default_rng(draw(st.integers(0, 2**32))).normal(0.0, scale, (frames, 2))
    kind = draw(st.sampled_from(["noise", "square", "impulse", "offset"]))
    shaped = {
        "noise": noise,
        "square": np.sign(noise) * scale,
        "impulse": noise * (np.arange(frames) % 800 == 0)[:, None],
        "offset": noise + scale,
    }
    samples: NDArray[np.float32] = shaped[kind].astype(np.float32)
    return samples


@every_stage
@linked_or_not
@settings(max_examples=25, deadline=None)
@given(samples=_anything())
def test_whatever_goes_in_finite_numbers_come_out(
    stage: Stage, linked: bool, samples: NDArray[np.float32]
) -> None:
    out = run(stage, samples, linked=linked)
    assert out.shape == samples.shape
    assert np.isfinite(out).all()
