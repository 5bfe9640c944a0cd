"""The spectral gate: noise goes down, speech stays, and segments leave no seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dsp.audio import AudioBuffer, Samples
from dsp.spectral_gate import _segments, spectral_gate
from dsp.speech import decide
from dsp.stages import Context, Denoise
from tests.support.recordings import TelephoneCall

RATE_HZ = 8_000


def _speech(seconds: float, seed: int = 2) -> Samples:
    """One party without the noise under it: words with digital silence between them."""
    samples = TelephoneCall(call_id="c", seed=seed, frames=round(seconds * RATE_HZ)).samples()[:, 0]
    speech: Samples = np.where(
        decide(samples, RATE_HZ).speech.repeat(160)[: samples.size], samples, 0.0
    ).astype(np.float32)
    return speech


def _noise(frames: int, dbfs: float, seed: int = 9) -> Samples:
    generator = np.random.default_rng(seed)
    noise: Samples = generator.normal(0.0, 10 ** (dbfs / 20), frames).astype(np.float32)
    return noise


def _gated(channel: Samples) -> Samples:
    out = spectral_gate(channel, RATE_HZ, decide(channel, RATE_HZ))
    assert out is not None
    assert out.shape == channel.shape
    return out


def _rms_db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)))


def _si_sdr_db(reference: Samples, estimate: Samples) -> float:
    target = reference * (reference @ estimate) / (reference @ reference)
    return float(10 * np.log10((target @ target) / ((estimate - target) @ (estimate - target))))


@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_speech_in_noise_comes_nearer_to_the_speech(snr_db: int) -> None:
    speech = _speech(20.0)
    active = speech[speech != 0]
    noisy = speech + _noise(speech.size, _rms_db(active) - snr_db)
    assert _si_sdr_db(speech, _gated(noisy)) > _si_sdr_db(speech, noisy) + 0.3


def test_noise_between_the_words_goes_down_and_stays_noise() -> None:
    """Not all of it: 0.8 of its amplitude at most, so that what is left sounds like the line."""
    speech = _speech(20.0)
    noisy = speech + _noise(speech.size, -45.0)
    noise = decide(noisy, RATE_HZ).noise.repeat(160)
    lowered_db = _rms_db(_gated(noisy)[: noise.size][noise]) - _rms_db(noisy[: noise.size][noise])
    assert -14.0 < lowered_db < -7.0


def test_speech_without_noise_is_left_alone() -> None:
    """Digital silence between the words: there is nothing to take away, and nothing is."""
    audio = AudioBuffer(_speech(20.0)[:, None], RATE_HZ)
    context = Context(channels="independent")
    out = Denoise(method="spectral_gate").process(audio, context)
    assert np.array_equal(out.samples, audio.samples)
    assert not context.denoise[0].applied


@pytest.mark.parametrize(
    ("seconds", "expected_s"),
    [(0.5, [0]), (59, [0]), (60, [0]), (69, [0]), (70, [0, 60]), (129, [0, 60]), (190, [0, 60, 120, 180])],
)
def test_segments_begin_every_minute_and_a_short_rest_goes_with_the_last(
    seconds: float, expected_s: list[int]
) -> None:
    frames = round(seconds * RATE_HZ)
    segments = _segments(frames, RATE_HZ)
    assert [start // RATE_HZ for start, _ in segments] == expected_s
    assert segments[-1][1] == frames
    assert all(end == start for (_, end), (start, _) in pairwise(segments))


def test_a_seam_between_segments_is_not_heard() -> None:
    """Around the minute the output changes from sample to sample no more than elsewhere."""
    noise = _noise(130 * RATE_HZ, -30.0)
    steps = np.abs(np.diff(_gated(noise)))
    seam = steps[60 * RATE_HZ - 5 : 60 * RATE_HZ + 5].max()
    assert seam < np.percentile(steps, 99.9)


def test_what_follows_a_segment_does_not_change_it() -> None:
    """But for the ends, which see their neighbours: a recording that goes on has the same first minute."""
    noise = _noise(200 * RATE_HZ, -30.0)
    shorter, longer = _gated(noise[: 130 * RATE_HZ]), _gated(noise)
    assert np.allclose(shorter[: 59 * RATE_HZ], longer[: 59 * RATE_HZ], atol=1e-6)


def test_a_recording_too_short_to_learn_from_is_left_alone() -> None:
    noise = _noise(2_000, -30.0)
    assert spectral_gate(noise, RATE_HZ, decide(noise, RATE_HZ)) is None
    context = Context(channels="independent")
    Denoise(method="spectral_gate").process(AudioBuffer(noise[:, None], RATE_HZ), context)
    assert context.denoise[0].reason == "too little without speech to learn the noise from"
