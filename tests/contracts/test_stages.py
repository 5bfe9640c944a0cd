"""The laws that every stage keeps. A stage of the registry is held to them without anybody remembering it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsp import AudioBuffer, Pause
from dsp.stages import REGISTRY, Context, Denoise, Stage
from tests.support.recordings import TelephoneCall

# How to make each stage; whoever adds one says here with which options it is held to the laws.
EXAMPLES: dict[str, list[Stage]] = {
    "denoise": [Denoise(method="spectral_gate"), Denoise(method="none")],
    "normalize": [REGISTRY["normalize"]()],
    "limit": [REGISTRY["limit"]()],
}
STAGES = [stage for examples in EXAMPLES.values() for stage in examples]
RATES_HZ = [8_000, 11_025, 16_000, 44_100, 48_000]

every_stage = pytest.mark.parametrize("stage", STAGES, ids=repr)
linked_or_not = pytest.mark.parametrize("channels", ["independent", "linked"])


def _call(seconds: float = 6.0, sample_rate_hz: int = 8_000, channels: int = 2) -> AudioBuffer:
    samples = TelephoneCall(call_id="c", seed=7, frames=round(seconds * sample_rate_hz)).samples()
    return AudioBuffer(np.repeat(samples, (channels + 1) // 2, axis=1)[:, :channels], sample_rate_hz)


def test_every_registered_stage_is_held_to_the_laws() -> None:
    assert list(EXAMPLES) == list(REGISTRY)


@every_stage
@linked_or_not
@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
def test_shape_rate_and_type_stay(
    stage: Stage, channels: Literal["independent", "linked"], sample_rate_hz: int
) -> None:
    """As many frames and channels as went in, at the same rate, as finite float32."""
    audio = _call(2.0, sample_rate_hz, channels=3)
    out = stage.process(audio, Context(channels=channels))
    assert out.samples.shape == audio.samples.shape
    assert out.samples.dtype == np.float32
    assert out.sample_rate_hz == sample_rate_hz
    assert np.isfinite(out.samples).all()


@every_stage
@linked_or_not
def test_the_input_is_not_changed_and_the_output_is_the_same_every_time(
    stage: Stage, channels: Literal["independent", "linked"]
) -> None:
    audio = _call()
    before = audio.samples.copy()
    first, second = (stage.process(audio, Context(channels=channels)).samples for _ in range(2))
    assert np.array_equal(audio.samples, before)
    assert first.tobytes() == second.tobytes()


@every_stage
@linked_or_not
@pytest.mark.parametrize("frames", [0, 1, 79, 3_199, 8_000])
def test_silence_stays_silent(stage: Stage, channels: Literal["independent", "linked"], frames: int) -> None:
    """Also of no length, and shorter than any block."""
    silence = AudioBuffer(np.zeros((frames, 2), dtype=np.float32), 8_000)
    out = stage.process(silence, Context(channels=channels))
    assert out.samples.shape == (frames, 2)
    assert not out.samples.any()


@every_stage
def test_a_silent_party_stays_silent_beside_one_that_speaks(stage: Stage) -> None:
    samples = _call().samples.copy()
    samples[:, 1] = 0.0
    out = stage.process(AudioBuffer(samples, 8_000), Context(channels="independent"))
    assert out.samples[:, 0].any()
    assert not out.samples[:, 1].any()


@every_stage
def test_there_is_no_delay(stage: Stage) -> None:
    """What comes out lies on what went in: their correlation is greatest at a lag of 0."""
    audio = _call()
    out = stage.process(audio, Context(channels="independent")).samples
    for channel in range(audio.channels):
        spectrum = np.fft.rfft(audio.samples[:, channel]).conj() * np.fft.rfft(out[:, channel])
        assert int(np.argmax(np.fft.irfft(spectrum))) == 0


@every_stage
def test_a_channel_does_not_hear_its_neighbour(stage: Stage) -> None:
    """Independent channels come out as if each had been alone."""
    audio = _call()
    together = stage.process(audio, Context(channels="independent")).samples
    for channel in range(audio.channels):
        alone = AudioBuffer(np.ascontiguousarray(audio.samples[:, [channel]]), audio.sample_rate_hz)
        assert np.array_equal(
            stage.process(alone, Context(channels="independent")).samples[:, 0], together[:, channel]
        )


@every_stage
def test_linked_channels_keep_their_balance(stage: Stage) -> None:
    """Where all get one gain, equal channels stay equal."""
    samples = np.repeat(_call(channels=1).samples, 2, axis=1)
    out = stage.process(AudioBuffer(samples, 8_000), Context(channels="linked")).samples
    assert np.array_equal(out[:, 0], out[:, 1])


@every_stage
def test_a_pause_over_everything_breaks_nothing(stage: Stage) -> None:
    audio = _call()
    out = stage.process(audio, Context(channels="independent", pauses=(Pause(0.0, 1e9),)))
    assert np.isfinite(out.samples).all()


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
@settings(max_examples=40, deadline=None)
@given(samples=_anything())
def test_whatever_goes_in_finite_numbers_come_out(
    stage: Stage, channels: Literal["independent", "linked"], samples: NDArray[np.float32]
) -> None:
    out = stage.process(AudioBuffer(samples, 8_000), Context(channels=channels))
    assert out.samples.shape == samples.shape
    assert np.isfinite(out.samples).all()
