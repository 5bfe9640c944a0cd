"""The active speech level against Recommendation ITU-T P.56 (12/2011), method B.

Two references: the recommendation's steps, one sample and one threshold at a time; and bursts of a tone, of which the
level and the activity follow from its formulas alone.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from dsp import Pause
from dsp.audio import Samples
from dsp.levels import ChannelLevels, LevelMeter

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.wav"))
TIME_CONSTANT_S, HANGOVER_S, MARGIN_DB = 0.03, 0.2, 15.9
THRESHOLDS = [2.0**exponent for exponent in range(-15, 0)]


def _measured(samples: Samples, sample_rate_hz: int, pauses: tuple[Pause, ...] = ()) -> ChannelLevels:
    meter = LevelMeter(sample_rate_hz, 1, pauses)
    meter.push(samples[:, None])
    return meter.finish()[0]


def _level_db(energy: float, active: list[float]) -> float:
    """Where the level of the active time lies 15.9 dB above the threshold, between two thresholds."""
    points = [
        (level_db, level_db - 20 * math.log10(threshold))
        for level_db, threshold in (
            (10 * math.log10(energy / count), threshold)
            for count, threshold in zip(active, THRESHOLDS, strict=True)
            if count > 0
        )
    ]
    for (lower_db, lower_margin), (upper_db, upper_margin) in pairwise(points):
        if upper_margin <= MARGIN_DB <= lower_margin:
            share = (lower_margin - MARGIN_DB) / (lower_margin - upper_margin)
            return lower_db + share * (upper_db - lower_db)
    raise AssertionError("no threshold lies 15.9 dB under its level")


def _sample_by_sample(samples: Samples, sample_rate_hz: int) -> tuple[float, float]:
    """Active level in dB and activity, by the steps of clause 8.2."""
    g = math.exp(-1 / (sample_rate_hz * TIME_CONSTANT_S))
    hangover = math.ceil(HANGOVER_S * sample_rate_hz)
    p = q = energy = 0.0
    active, held = [0] * 15, [hangover] * 15
    for x in samples.astype(np.float64).tolist():
        energy += x * x
        p = g * p + (1 - g) * abs(x)
        q = g * q + (1 - g) * p
        for j, threshold in enumerate(THRESHOLDS):
            if q >= threshold:
                active[j] += 1
                held[j] = 0
            elif held[j] < hangover:
                active[j] += 1
                held[j] += 1
    level_db = _level_db(energy, [float(count) for count in active])
    return level_db, energy / samples.size / 10 ** (level_db / 10)


def _voice(seconds: float, sample_rate_hz: int, seed: int) -> Samples:
    """Syllables of many levels, with pauses between them."""
    generator = np.random.default_rng(seed)
    steps_db = generator.choice([-90.0, -50.0, -35.0, -25.0, -20.0, -15.0], round(seconds / 0.15))
    level = np.repeat(10 ** (steps_db / 20), round(0.15 * sample_rate_hz))
    return (level * generator.normal(0.0, 1.0, level.size)).astype(np.float32)


@pytest.mark.parametrize(
    ("sample_rate_hz", "seconds"), [(8_000, 6.0), (11_025, 3.0), (16_000, 3.0), (44_100, 1.2), (48_000, 1.2)]
)
def test_it_is_that_of_the_steps_of_the_recommendation(sample_rate_hz: int, seconds: float) -> None:
    """To the sample: every threshold is passed where the recommendation passes it."""
    voice = _voice(seconds, sample_rate_hz, seed=sample_rate_hz)
    level_db, activity = _sample_by_sample(voice, sample_rate_hz)
    levels = _measured(voice, sample_rate_hz)
    assert levels.active_speech_level_dbfs == pytest.approx(level_db, abs=1e-6)
    assert levels.activity_factor == pytest.approx(activity, abs=1e-6)


@pytest.mark.parametrize("path", EXAMPLES[:3], ids=lambda path: path.stem)
def test_of_calls_too(path: Path) -> None:
    """On the first six seconds of each party."""
    samples, sample_rate_hz = soundfile.read(path, frames=48_000, dtype="float32")
    for channel in np.ascontiguousarray(samples.T):
        level_db, activity = _sample_by_sample(channel, sample_rate_hz)
        levels = _measured(channel, sample_rate_hz)
        assert levels.active_speech_level_dbfs == pytest.approx(level_db, abs=1e-6)
        assert levels.activity_factor == pytest.approx(activity, abs=1e-6)


def test_paused_samples_are_as_if_cut_out() -> None:
    voice = _voice(8.0, 8_000, seed=1)
    cut = np.concatenate([voice[: 2 * 8_000], voice[3 * 8_000 :]])
    levels, expected = _measured(voice, 8_000, (Pause(2.0, 3.0),)), _measured(cut, 8_000)
    assert levels.active_speech_level_dbfs == pytest.approx(expected.active_speech_level_dbfs, abs=1e-9)
    assert levels.activity_factor == pytest.approx(expected.activity_factor, abs=1e-9)


def _tone(level_dbfs: float, seconds: float, sample_rate_hz: int) -> NDArray[np.float64]:
    time_s = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
    return math.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * 1_000 * time_s + 0.1)


def _passes(share: float) -> float:
    """When the answer of two averages to a step passes a share of it: 1 - (1 + t/T) exp(-t/T), in seconds."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        over = 1 - (1 + middle / TIME_CONSTANT_S) * math.exp(-middle / TIME_CONSTANT_S) > share
        low, high = (low, middle) if over else (middle, high)
    return high


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("level_dbfs", [-10.0, -26.0, -45.0])
@pytest.mark.parametrize("duty", [0.2, 0.5, 0.8])
def test_bursts_have_the_level_and_activity_that_follow_from_the_formulas(
    duty: float, level_dbfs: float, sample_rate_hz: int
) -> None:
    """Within 0.02 dB and 0.5 %; the recommendation asks for half a decibel.

    The mean magnitude of a tone is 2 sqrt(2) / pi of its RMS value. The envelope goes up to it and down from it as two
    averages do, so the time from threshold to threshold is known, and 200 ms of hangover come to it.
    """
    period_s, bursts = 2.5, 4
    on_s = duty * period_s
    burst = np.zeros(round(period_s * sample_rate_hz))
    burst[: round(on_s * sample_rate_hz)] = _tone(level_dbfs, on_s, sample_rate_hz)
    levels = _measured(np.tile(burst, bursts).astype(np.float32), sample_rate_hz)

    magnitude = 2 * math.sqrt(2) / math.pi * 10 ** (level_dbfs / 20)
    active_s = [
        min(period_s, on_s - _passes(c / magnitude) + _passes(1 - c / magnitude) + HANGOVER_S)
        if c < magnitude
        else 0.0
        for c in THRESHOLDS
    ]
    expected_dbfs = _level_db(10 ** (level_dbfs / 10) * on_s, active_s)
    assert levels.active_speech_level_dbfs == pytest.approx(expected_dbfs, abs=0.02)
    assert levels.activity_factor == pytest.approx(
        duty * 10 ** ((level_dbfs - expected_dbfs) / 10), rel=0.005
    )


@pytest.mark.parametrize("level_dbfs", [-6.0, -26.0, -60.0])
@pytest.mark.parametrize("sound", ["tone", "noise"])
def test_what_never_stops_is_all_active_at_its_own_level(level_dbfs: float, sound: str) -> None:
    """As a meter is calibrated (clause 11); but for the 30 ms in which the envelope rises."""
    samples = (
        _tone(level_dbfs, 20.0, 8_000)
        if sound == "tone"
        else np.random.default_rng(2).normal(0.0, 10 ** (level_dbfs / 20), 160_000)
    )
    levels = _measured(samples.astype(np.float32), 8_000)
    rms_dbfs = 10 * math.log10(float(np.square(samples).mean()))
    assert levels.active_speech_level_dbfs == pytest.approx(rms_dbfs, abs=0.01)
    assert levels.activity_factor == pytest.approx(1.0, abs=0.002)


def test_what_is_too_quiet_for_the_thresholds_has_no_level() -> None:
    """The lowest is 2^-15 of full scale, and the level lies 15.9 dB above one."""
    levels = _measured(_tone(-80.0, 5.0, 8_000).astype(np.float32), 8_000)
    assert levels.active_speech_level_dbfs is None
    assert levels.activity_factor is None


@pytest.mark.parametrize("seed", range(4))
def test_pauses_between_the_speech_do_not_lower_it(seed: int) -> None:
    """What the method is for: as much silence again changes the level by less than 0.5 dB, and halves the activity."""
    voice = _voice(6.0, 8_000, seed)
    apart = np.concatenate([part for half in np.split(voice, 2) for part in (half, np.zeros_like(half))])
    together, spread = _measured(voice, 8_000), _measured(apart, 8_000)
    assert spread.active_speech_level_dbfs == pytest.approx(together.active_speech_level_dbfs, abs=0.5)
    assert together.activity_factor is not None
    assert spread.activity_factor == pytest.approx(together.activity_factor / 2, rel=0.1)
