"""Compress: phrases come nearer to each other, pauses are not pumped up, and what is even passes bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.audio import Samples
from dsp.stages.compress import Compress
from tests.support.sounds import example, rms_db
from tests.support.streams import context_of, run, through

RATE_HZ = 8_000
Phrases = list[tuple[float, float]]
# Level and length of each, with two seconds of pause before it.
UNEVEN: Phrases = [(-20.0, 6.0), (-32.0, 6.0), (-20.0, 6.0), (-14.0, 6.0), (-20.0, 6.0)]
EVEN: Phrases = [(-20.0, 6.0)] * 5


def _party(phrases: Phrases, noise_dbfs: float = -60.0, rate_hz: int = RATE_HZ) -> Samples:
    """Words of 0.4 s with 0.1 s between them, shape (frames, 1)."""
    generator = np.random.default_rng(5)
    parts = []
    for level_dbfs, seconds in phrases:
        words = generator.normal(0.0, 10 ** (level_dbfs / 20), round(seconds * rate_hz))
        words *= np.arange(words.size) / rate_hz % 0.5 < 0.4
        parts += [np.zeros(2 * rate_hz), words]
    party = np.concatenate([*parts, np.zeros(2 * rate_hz)])
    noisy: Samples = (party + generator.normal(0.0, 10 ** (noise_dbfs / 20), party.size)).astype(np.float32)
    return noisy[:, None]


def _phrase(sound: Samples, phrase: int) -> Samples:
    """The middle of a phrase of six seconds."""
    start = (8 * phrase + 4) * RATE_HZ
    return sound[start : start + 2 * RATE_HZ]


def _pause(sound: Samples, phrase: int) -> Samples:
    """The middle of the pause before it."""
    start = round((8 * phrase + 0.5) * RATE_HZ)
    return sound[start : start + RATE_HZ]


def _gains_db(before: Samples, after: Samples) -> list[float]:
    return [rms_db(_phrase(after, phrase)) - rms_db(_phrase(before, phrase)) for phrase in range(5)]


def test_quiet_phrases_are_raised_and_loud_ones_lowered() -> None:
    party = _party(UNEVEN)
    before_db = [rms_db(_phrase(party, phrase)) for phrase in range(5)]
    out = run(Compress(), party)
    after_db = [rms_db(_phrase(out, phrase)) for phrase in range(5)]
    assert max(before_db) - min(before_db) == pytest.approx(18.0, abs=0.5)
    assert max(after_db) - min(after_db) < 9.0
    gains_db = _gains_db(party, out)
    assert gains_db[1] > 6.0
    assert gains_db[3] < -1.0


@pytest.mark.parametrize(("max_boost_db", "max_cut_db"), [(3.0, 0.0), (0.0, 2.0), (0.0, 0.0)])
def test_no_gain_is_beyond_what_the_chain_allows(max_boost_db: float, max_cut_db: float) -> None:
    party = _party(UNEVEN)
    out = run(Compress(max_boost_db=max_boost_db, max_cut_db=max_cut_db), party)
    gains_db = _gains_db(party, out)
    assert max(gains_db) == pytest.approx(max_boost_db, abs=0.05)
    assert min(gains_db) == pytest.approx(-min(max_cut_db, 2.0), abs=1.0 if max_cut_db else 0.05)


def test_pauses_are_not_pumped_up() -> None:
    """Between a usual and a quiet phrase noise gets no more than the lower of their gains."""
    party = _party(UNEVEN)
    out = run(Compress(), party)
    gains_db = _gains_db(party, out)
    for phrase in range(1, 5):
        pause_db = rms_db(_pause(out, phrase)) - rms_db(_pause(party, phrase))
        assert pause_db == pytest.approx(min(gains_db[phrase - 1], gains_db[phrase]), abs=0.7)


def test_the_gain_moves_without_a_step() -> None:
    """No faster than 30 dB a second: a constant offset in shows the gain itself."""
    party = _party(UNEVEN)
    gain = run_gain(party)
    steps_db = np.abs(np.diff(20 * np.log10(gain)))
    assert steps_db.max() * RATE_HZ < 30.0
    assert gain.max() > 2.0


def run_gain(party: Samples) -> Samples:
    """The gain of each frame that a party gets."""
    return through(Compress().open(context_of(party)), np.ones_like(party))[:, 0]


@pytest.mark.parametrize("phrases", [EVEN, [(-20.0, 6.0), (-20.8, 6.0), (-19.5, 6.0)]])
def test_a_party_that_keeps_its_level_passes_bit_for_bit(phrases: Phrases) -> None:
    party = _party(phrases)
    assert np.array_equal(run(Compress(), party), party)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_says_how_much_of_the_distance_goes(share: float) -> None:
    party = _party([(-20.0, 6.0), (-28.0, 6.0), (-20.0, 6.0)])
    before_db = rms_db(_phrase(party, 0)) - rms_db(_phrase(party, 1))
    out = run(Compress(share=share, max_boost_db=20.0), party)
    after_db = rms_db(_phrase(out, 0)) - rms_db(_phrase(out, 1))
    # Up to 1.5 dB on either side of the mean stay.
    assert before_db - after_db == pytest.approx(share * (before_db - 2.7), abs=0.4)


def test_each_party_is_levelled_for_itself() -> None:
    both = np.concatenate([_party(UNEVEN), _party(EVEN), _party(UNEVEN[::-1])], axis=1)
    out = run(Compress(), both)
    assert np.array_equal(out[:, 1], both[:, 1])
    for channel in range(3):
        assert np.array_equal(run(Compress(), both[:, [channel]])[:, 0], out[:, channel])


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
def test_the_cut_into_blocks_changes_no_bit(rate_hz: int) -> None:
    party = _party([(-20.0, 4.0), (-32.0, 4.0)], rate_hz=rate_hz)
    whole = run(Compress(), party, rate_hz, block_frames=len(party))
    assert not np.array_equal(whole, party)
    assert whole.dtype == np.float32
    for block_frames in (4_096, 100_000):
        assert run(Compress(), party, rate_hz, block_frames=block_frames).tobytes() == whole.tobytes()


@pytest.mark.parametrize("block_frames", [1, 7, 160])
def test_the_cut_into_the_smallest_blocks_changes_no_bit(block_frames: int) -> None:
    context = context_of(_party(UNEVEN))
    start = 9 * RATE_HZ
    sound = _party(UNEVEN)[: start + 3_000]
    whole = through(Compress().open(context), sound, len(sound))
    stage = Compress().open(context)
    stage.push(sound[:start])
    out = through(stage, sound[start:], block_frames)
    assert out.tobytes() == whole[start:].tobytes()


@settings(max_examples=20, deadline=None)
@given(gain=st.sampled_from([0.125, 0.5, 2.0]))
def test_the_level_of_the_whole_makes_no_difference(gain: float) -> None:
    party = _party(UNEVEN, noise_dbfs=-70.0)
    out = run(Compress(), party)
    assert np.allclose(
        run(Compress(), party * np.float32(gain)), out * np.float32(gain), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("frames", [0, 1, 399, 8_000])
def test_silence_stays_silent(frames: int) -> None:
    silence = np.zeros((frames, 2), dtype=np.float32)
    assert np.array_equal(run(Compress(), silence), silence)


def test_a_word_alone_has_nothing_to_be_levelled_to() -> None:
    party = _party([(-20.0, 0.9)])
    assert np.array_equal(run(Compress(), party), party)


SHAPES = {
    "offset": np.full((40_000, 1), 0.5),
    "square": np.sign(np.random.default_rng(0).normal(size=(40_000, 1))),
    "impulse": np.eye(40_000, 1, -4_000),
    "a word over full scale in a quiet call": np.concatenate(
        [_party(EVEN), 3e38 * _party([(0.0, 2.0)]).clip(-1, 1)]
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_goes_in_finite_numbers_come_out(shape: str) -> None:
    sound = SHAPES[shape].astype(np.float32)
    before = sound.copy()
    assert np.isfinite(run(Compress(), sound)).all()
    assert np.array_equal(sound, before)


@pytest.mark.parametrize("name", ["hotel", "router"])
def test_a_real_call_keeps_its_noise_where_it_was(name: str) -> None:
    """Its pauses get no louder, against its speech, than they were."""
    call = example(name)
    context = context_of(call)
    out = through(Compress().open(context), call)
    for channel, decision in enumerate(context.decisions):
        speech, noise = (which.repeat(160) for which in (decision.speech, decision.noise))
        before, after = call[: speech.size, channel], out[: speech.size, channel]
        raised_db = rms_db(after[noise]) - rms_db(before[noise])
        assert raised_db < rms_db(after[speech]) - rms_db(before[speech]) + 0.5
