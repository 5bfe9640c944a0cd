"""The spectral gate: noise goes down, speech stays, segments leave no seam, and blocks make no difference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from dsp.audio import AudioBuffer, Samples
from dsp.spectral_gate import NoiseFrames, SpectralGate, segments
from dsp.speech import Decision
from tests.support.recordings import TelephoneCall
from tests.support.sounds import rms_db
from tests.support.streams import context_of, through

RATE_HZ = 8_000


def _decided(channel: Samples, rate_hz: int) -> Decision:
    return context_of(channel[:, None], rate_hz).decisions[0]


def _speech(seconds: float, seed: int = 2) -> Samples:
    """One party without the noise under it: words with digital silence between them."""
    samples = TelephoneCall(call_id="c", seed=seed, frames=round(seconds * RATE_HZ)).samples()[:, 0]
    speech: Samples = np.where(
        _decided(samples, RATE_HZ).speech.repeat(160)[: samples.size], samples, 0.0
    ).astype(np.float32)
    return speech


def _noise(frames: int, dbfs: float, seed: int = 9) -> Samples:
    generator = np.random.default_rng(seed)
    noise: Samples = generator.normal(0.0, 10 ** (dbfs / 20), frames).astype(np.float32)
    return noise


def _noise_where(seconds: list[tuple[float, float]], frames: int, rate_hz: int = RATE_HZ) -> Decision:
    """A decision that has noise in some stretches, and speech nowhere."""
    size = rate_hz // 50
    noise = np.zeros(frames // size, dtype=np.bool_)
    for start_s, end_s in seconds:
        noise[round(start_s * 50) : round(end_s * 50)] = True
    return Decision(np.ones(noise.size, dtype=np.float32), np.zeros_like(noise), noise, size)


def _gated(
    channel: Samples, decision: Decision | None = None, rate_hz: int = RATE_HZ, block_frames: int = 4_096
) -> Samples:
    audio = AudioBuffer(channel[:, None], rate_hz)
    noise = NoiseFrames(decision or _decided(channel, rate_hz), audio)
    assert noise.learnable[0]
    out = through(SpectralGate(audio, [0], [noise]), audio.samples, block_frames)
    assert out.shape == (channel.size, 1)
    assert out.dtype == np.float32
    return out[:, 0]


def _si_sdr_db(reference: Samples, estimate: Samples) -> float:
    target = reference * (reference @ estimate) / (reference @ reference)
    return float(10 * np.log10((target @ target) / ((estimate - target) @ (estimate - target))))


@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_speech_in_noise_comes_nearer_to_the_speech(snr_db: int) -> None:
    speech = _speech(20.0)
    noisy = speech + _noise(speech.size, rms_db(speech[speech != 0]) - snr_db)
    assert _si_sdr_db(speech, _gated(noisy)) > _si_sdr_db(speech, noisy) + 0.3


def test_noise_between_the_words_goes_down_and_stays_noise() -> None:
    """Not all of it: 0.8 of its amplitude at most, so that what is left sounds like the line."""
    speech = _speech(20.0)
    noisy = speech + _noise(speech.size, -45.0)
    noise = _decided(noisy, RATE_HZ).noise.repeat(160)
    lowered_db = rms_db(_gated(noisy)[: noise.size][noise]) - rms_db(noisy[: noise.size][noise])
    assert -14.0 < lowered_db < -7.0


@pytest.mark.parametrize(
    ("seconds", "expected_s"),
    [
        (0.0, []),
        (0.5, [0]),
        (59, [0]),
        (60, [0]),
        (69, [0]),
        (70, [0, 60]),
        (129, [0, 60]),
        (190, [0, 60, 120, 180]),
    ],
)
def test_segments_begin_every_minute_and_a_short_rest_goes_with_the_last(
    seconds: float, expected_s: list[int]
) -> None:
    frames = round(seconds * RATE_HZ)
    cut = segments(frames, RATE_HZ)
    assert [start // RATE_HZ for start, _ in cut] == expected_s
    assert sum(end - start for start, end in cut) == frames
    assert all(end == start for (_, end), (start, _) in pairwise(cut))


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000])
def test_the_cut_into_blocks_changes_no_bit(rate_hz: int) -> None:
    """Blocks that meet the ends of segments and frames each at another place."""
    noise = _noise(72 * rate_hz, -30.0)
    decision = _noise_where([(1.0, 9.0), (62.0, 65.0)], noise.size, rate_hz)
    whole = _gated(noise, decision, rate_hz, noise.size)
    for block_frames in (4_096, 100_000):
        assert _gated(noise, decision, rate_hz, block_frames).tobytes() == whole.tobytes()


@pytest.mark.parametrize("block_frames", [1, 7, 160])
def test_the_cut_into_the_smallest_blocks_changes_no_bit(block_frames: int) -> None:
    noise = _noise(4_000, -30.0)
    whole = _gated(noise, block_frames=4_000)
    assert _gated(noise, block_frames=block_frames).tobytes() == whole.tobytes()


def test_a_minute_is_given_when_it_is_whole() -> None:
    """Memory stays flat: no more than a minute waits."""
    noise = _noise(200 * RATE_HZ, -30.0)
    audio = AudioBuffer(noise[:, None], RATE_HZ)
    gate = SpectralGate(audio, [0], [NoiseFrames(_decided(noise, RATE_HZ), audio)])
    waiting, most = 0, 0
    for block in audio.blocks(4_096):
        waiting += len(block) - len(gate.push(block))
        most = max(most, waiting)
    assert waiting == 0
    assert most < 61 * RATE_HZ


def test_a_seam_between_segments_is_not_heard() -> None:
    """Around the minute the output changes from sample to sample no more than elsewhere."""
    steps = np.abs(np.diff(_gated(_noise(130 * RATE_HZ, -30.0))))
    assert steps[60 * RATE_HZ - 5 : 60 * RATE_HZ + 5].max() < np.percentile(steps, 99.9)


def test_what_follows_a_segment_does_not_change_it() -> None:
    """But for the ends, which see their neighbours: a recording that goes on has the same first minute."""
    noise = _noise(200 * RATE_HZ, -30.0)
    shorter, longer = _gated(noise[: 130 * RATE_HZ]), _gated(noise)
    assert np.allclose(shorter[: 59 * RATE_HZ], longer[: 59 * RATE_HZ], atol=1e-6)


@pytest.mark.parametrize(
    ("where_s", "said"),
    [
        ([(5.0, 6.0), (65.0, 66.0), (125.0, 126.0)], None),
        ([(65.0, 66.0)], "2 of 3 minutes have too little noise: gated by others' noise"),
        (
            [(5.0, 5.2), (65.0, 65.2), (125.0, 125.2)],
            "the noise of all minutes together, for none has enough of its own",
        ),
    ],
)
def test_a_minute_without_noise_of_its_own_is_gated_by_that_of_others(
    where_s: list[tuple[float, float]], said: str | None
) -> None:
    """Also the minutes before the first that has any; and the report says so."""
    noise = _noise(180 * RATE_HZ, -40.0)
    decision = _noise_where(where_s, noise.size)
    assert NoiseFrames(decision, AudioBuffer(noise[:, None], RATE_HZ)).learnable == (True, said)
    gated = _gated(noise, decision)
    for minute in range(3):
        part = slice(minute * 60 * RATE_HZ, (minute + 1) * 60 * RATE_HZ)
        assert -14.0 < rms_db(gated[part]) - rms_db(noise[part]) < -7.0


class _Watched(AudioBuffer):
    """Counts what is read ahead."""

    frames_read = 0

    def read(self, channels: Sequence[int], start: int, frames: int) -> Samples:
        type(self).frames_read += frames
        return super().read(channels, start, frames)


@pytest.mark.parametrize(("where_s", "expected_s"), [((5.0, 6.0), 0), ((65.0, 66.0), 60)])
def test_a_recording_is_read_ahead_only_where_it_begins_without_noise(
    where_s: tuple[float, float], expected_s: int
) -> None:
    """And no more of it than the first minute with noise."""
    _Watched.frames_read = 0
    audio = _Watched(_noise(180 * RATE_HZ, -40.0)[:, None], RATE_HZ)
    SpectralGate(audio, [0], [NoiseFrames(_noise_where([where_s], audio.frames), audio)])
    assert _Watched.frames_read == expected_s * RATE_HZ


@pytest.mark.parametrize("frames", [0, 1, 2_000, 61 * RATE_HZ])
def test_too_little_noise_is_said(frames: int) -> None:
    noise = _noise(frames, -40.0)
    decision = _noise_where([(0.0, 0.2)], noise.size)
    assert NoiseFrames(decision, AudioBuffer(noise[:, None], RATE_HZ)).learnable == (
        False,
        "too little without speech to learn the noise from",
    )


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_silence_around_a_sound_stays_silent(rate_hz: int) -> None:
    """But for a window on either side, exact zeros stay exact zeros."""
    sound = _noise(4 * rate_hz, -30.0)
    sound[rate_hz : 3 * rate_hz] = 0.0
    decision = _noise_where([(0.0, 1.0)], sound.size, rate_hz)
    gated = _gated(sound, decision, rate_hz)
    assert not gated[round(1.1 * rate_hz) : round(2.9 * rate_hz)].any()
    assert gated[:rate_hz].any()


@pytest.mark.parametrize(
    "sound",
    [
        np.full(8_000, 0.5),
        np.sign(np.sin(np.arange(8_000) * 0.7)),
        np.eye(1, 8_000, 4_000)[0],
        np.full(8_000, 1e30),
    ],
    ids=["offset", "square", "impulse", "absurd"],
)
def test_whatever_goes_in_finite_numbers_come_out(sound: Samples) -> None:
    decision = _noise_where([(0.0, 1.0)], sound.size)
    assert np.isfinite(_gated(sound.astype(np.float32), decision)).all()
