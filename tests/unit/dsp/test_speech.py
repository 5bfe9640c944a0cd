"""Speech against noise: known levels in, known levels out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import binary_opening, maximum_filter1d, median_filter, uniform_filter1d

from dsp import Pause
from dsp.audio import Samples
from dsp.levels import LevelMeter
from dsp.speech import Decision, SpeechLevels, decide, speech_levels

RATE_HZ = 8_000
FRAME = 160


def _decided(channel: Samples, pauses: tuple[Pause, ...] = ()) -> tuple[Decision, SpeechLevels]:
    meter = LevelMeter(RATE_HZ, 1, pauses)
    meter.push(channel[:, None])
    (levels,) = meter.finish()
    return levels.decision, levels.speech


def _levels(channel: Samples, pauses: tuple[Pause, ...] = ()) -> SpeechLevels:
    return _decided(channel, pauses)[1]


def _party(speech_dbfs: float, noise_dbfs: float | None, seconds: float = 40.0, seed: int = 3) -> Samples:
    """Words of 0.6 s with 0.4 s between them, every third sentence a turn of the other party, over noise."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    speaks = (time_s % 1.0 < 0.6) & (time_s % 12.0 < 8.0)
    voice = generator.normal(0.0, 10 ** (speech_dbfs / 20), time_s.size) * speaks
    noise = 0.0 if noise_dbfs is None else generator.normal(0.0, 10 ** (noise_dbfs / 20), time_s.size)
    samples: Samples = (voice + noise).astype(np.float32)
    return samples


@pytest.mark.parametrize("snr_db", [10, 15, 20, 30, 40])
@pytest.mark.parametrize("speech_dbfs", [-15.0, -30.0, -45.0])
def test_levels_are_those_that_were_mixed(speech_dbfs: float, snr_db: float) -> None:
    """Noise within 0.5 dB, speech within 1 dB, its time within a tenth."""
    levels = _levels(_party(speech_dbfs, speech_dbfs - snr_db))
    assert levels.noise_dbfs == pytest.approx(speech_dbfs - snr_db, abs=0.5)
    assert levels.speech_dbfs == pytest.approx(speech_dbfs, abs=1.0)
    assert levels.snr_db == pytest.approx(snr_db, abs=1.2)
    assert levels.speech_s == pytest.approx(40 * 0.6 * 8 / 12, rel=0.1)


def test_noise_that_changes_within_the_call_is_followed() -> None:
    """Half a minute into a louder room its noise is not taken for speech."""
    quiet, loud = _party(-20, -60, 120), _party(-20, -40, 120, seed=4)
    levels = _levels(np.concatenate([quiet, loud]))
    assert levels.speech_s == pytest.approx(240 * 0.6 * 8 / 12, rel=0.15)


def test_steady_noise_is_no_speech() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.01, 80_000).astype(np.float32)
    levels = _levels(noise)
    assert levels.speech_dbfs is None
    assert levels.snr_db is None
    assert levels.speech_s == 0.0
    assert levels.noise_dbfs == pytest.approx(-40.0, abs=0.3)


def test_clicks_are_no_speech() -> None:
    """What lasts 20 ms is a key or a switch."""
    noise = np.random.default_rng(0).normal(0.0, 0.001, 80_000).astype(np.float32)
    noise[::4_000] = 0.5
    assert _levels(noise).speech_s == 0.0


def test_digital_silence_between_the_speech_is_no_noise_floor() -> None:
    levels = _levels(_party(-20, None))
    assert levels.speech_dbfs == pytest.approx(-20.0, abs=1.0)
    assert levels.noise_dbfs is None
    assert levels.snr_db is None


@pytest.mark.parametrize("frames", [0, 1, 159, 160, 8_000])
def test_silence_of_any_length_has_no_levels(frames: int) -> None:
    assert _levels(np.zeros(frames, dtype=np.float32)) == SpeechLevels(None, None, 0.0)


def test_a_constant_offset_is_no_noise() -> None:
    """An A-law line's offset of a few steps must not hide its noise floor."""
    plain = _party(-20, -70)
    shifted = _levels(plain + np.float32(0.01))
    assert shifted.noise_dbfs == pytest.approx(-70.0, abs=0.5)


def test_pauses_count_neither_as_speech_nor_as_noise() -> None:
    party = _party(-30, -60)
    party[: 10 * RATE_HZ] = np.random.default_rng(1).normal(0.0, 0.3, 10 * RATE_HZ)
    levels = _levels(party, (Pause(0.0, 10.0),))
    assert levels.speech_dbfs == pytest.approx(-30.0, abs=1.0)
    assert levels.noise_dbfs == pytest.approx(-60.0, abs=0.5)


def test_noise_to_learn_from_holds_no_speech() -> None:
    """Not a frame of the words is in what the denoiser takes for its profile."""
    party = _party(-20, -50)
    decision, _ = _decided(party)
    noise = party[: decision.noise.size * FRAME].reshape(-1, FRAME)[decision.noise]
    assert noise.size > 5 * RATE_HZ
    assert 20 * np.log10(np.abs(noise).max()) < -50 + 15


def test_a_part_of_a_decision_is_that_of_its_frames() -> None:
    """Whole frames only: what is left of one at the end is none."""
    decision, _ = _decided(_party(-20, -50, 10.0))
    part = decision.part(2 * FRAME, 5 * FRAME + 1)
    assert np.array_equal(part.power, decision.power[2:5])
    assert np.array_equal(part.speech, decision.speech[2:5])
    assert np.array_equal(part.noise, decision.noise[2:5])
    with pytest.raises(ValueError, match="a multiple of 160 wanted, got 161"):
        decision.part(161, 480)


def _by_scipy(
    power: NDArray[np.float64], counted: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Speech and noise, written with scipy's filters, in decibels and all at once."""
    sounding = np.flatnonzero(counted & (power > 10**-9.6))
    ends = np.arange(power.size)
    counted = counted & (ends >= sounding.min(initial=power.size)) & (ends <= sounding.max(initial=-1))
    speech = np.zeros(power.size, dtype=np.bool_)
    if counted.any():
        level_db = 10 * np.log10(np.maximum(power[counted], 10**-9.6))
        smoothed_db = 10 * np.log10(np.maximum(uniform_filter1d(power[counted], 5), 10**-9.6))
        windows = np.array_split(smoothed_db, max(1, smoothed_db.size // 75))
        minima_db = np.array([window.min() for window in windows])
        around_db = median_filter(minima_db, 21, mode="mirror")
        if minima_db.size <= 21:
            around_db = np.full(minima_db.size, np.median(minima_db))
        floor_db = np.repeat(around_db, [window.size for window in windows]) + 6
        above = level_db[level_db > floor_db]
        if above.size:
            threshold_db = np.maximum(floor_db, np.percentile(above, 95) - 25)
            speech[counted] = binary_opening(level_db > threshold_db, np.ones(3, dtype=np.bool_))
    return speech, counted & ~maximum_filter1d(speech, 7)


@given(
    seed=st.integers(0, 2**32 - 1),
    stretches=st.lists(
        st.tuples(
            st.integers(1, 400), st.sampled_from([-200.0, -95.0, -70.0, -55.0, -40.0, -30.0, -20.0, -3.0])
        ),
        max_size=12,
    ),
    repeated=st.sampled_from([1, 1, 7]),
    paused=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 300)), max_size=3),
)
def test_decisions_are_those_of_scipys_filters(
    seed: int, stretches: list[tuple[int, float]], repeated: int, paused: list[tuple[int, int]]
) -> None:
    """Of any length, to the frame."""
    spread = np.random.default_rng(seed)
    level_db = (
        np.repeat(
            [level for _, level in stretches * repeated], [frames for frames, _ in stretches * repeated]
        )
        if stretches
        else np.zeros(0)
    )
    power = (10 ** (level_db / 10) * spread.gamma(4.0, 0.25, level_db.size)).astype(np.float32)
    counted = np.ones(power.size, dtype=np.bool_)
    for first, frames in paused:
        counted[first : first + frames] = False
    decision = decide(power, counted, FRAME)
    speech, noise = _by_scipy(power.astype(np.float64), counted)
    assert np.array_equal(decision.speech, speech)
    assert np.array_equal(decision.noise, noise)


@pytest.mark.parametrize(("before", "after"), [(1, 0), (160, 0), (0, 40), (1_000, 1_000)])
def test_digital_silence_at_the_ends_decides_nothing(before: int, after: int) -> None:
    """A recorder that runs before the line is open, and after: what is between is decided as if it were alone."""
    decision, _ = _decided(_party(-25, -45, 12.0))
    power = np.pad(decision.power, (before, after))
    longer = decide(power, np.ones(power.size, dtype=np.bool_), FRAME)
    assert np.array_equal(longer.speech, np.pad(decision.speech, (before, after)))
    assert np.array_equal(longer.noise, np.pad(decision.noise, (before, after)))
    assert speech_levels(longer) == speech_levels(decision)
