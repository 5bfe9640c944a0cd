"""Normalizing and limiting together: the target is met after the limiter, and nothing is over the ceiling."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import AudioBuffer, Pause
from dsp.audio import Samples
from dsp.loudness import weighted
from dsp.stages import Context, LimitTruePeak, NormalizeLoudness
from dsp.stages.limit import _ATTACK_DB_S, _RELEASE_DB_S, reduction
from dsp.true_peak import inter_sample_peaks
from tests.support.recordings import TelephoneCall

RATE_HZ = 8_000
Channels = Literal["independent", "linked"]


def _call(level_db: float = 0.0, seconds: float = 12.0, seed: int = 5) -> AudioBuffer:
    samples = TelephoneCall(call_id="c", seed=seed, frames=round(seconds * RATE_HZ)).samples()
    return AudioBuffer(samples * np.float32(10 ** (level_db / 20)), RATE_HZ)


def _levelled(
    audio: AudioBuffer,
    normalize: NormalizeLoudness,
    limit: LimitTruePeak,
    channels: Channels,
    pauses: tuple[Pause, ...] = (),
) -> tuple[AudioBuffer, Context]:
    context = Context(channels=channels, following=(limit,), pauses=pauses)
    normalized = normalize.process(audio, context)
    context.following = ()
    return limit.process(normalized, context), context


def _lufs(samples: Samples, pauses: tuple[Pause, ...] = ()) -> float:
    found = weighted(samples, RATE_HZ, pauses).integrated_lufs()
    assert found is not None
    return found


def _peak_db(samples: Samples) -> float:
    peaks = [inter_sample_peaks(np.ascontiguousarray(channel), RATE_HZ).max() for channel in samples.T]
    return float(20 * np.log10(max(peaks)))


@pytest.mark.parametrize("target_lufs", [-23.0, -16.0, -14.0])
@pytest.mark.parametrize("level_db", [-15.0, 0.0, 10.0])
def test_each_party_meets_the_target_after_the_limiter(level_db: float, target_lufs: float) -> None:
    out, _ = _levelled(
        _call(level_db), NormalizeLoudness(target_lufs=target_lufs), LimitTruePeak(), "independent"
    )
    for channel in range(2):
        assert _lufs(out.samples[:, [channel]]) == pytest.approx(target_lufs, abs=0.02)
    assert _peak_db(out.samples) < -1.5 + 0.05


@pytest.mark.parametrize("level_db", [-15.0, 0.0, 10.0])
def test_linked_channels_meet_it_together_and_keep_their_balance(level_db: float) -> None:
    audio = _call(level_db)
    out, _ = _levelled(audio, NormalizeLoudness(), LimitTruePeak(), "linked")
    assert _lufs(out.samples) == pytest.approx(-16.0, abs=0.02)
    assert _peak_db(out.samples) < -1.5 + 0.05
    heard = np.abs(audio.samples).min(axis=1) > 1e-4
    balance = (
        out.samples[heard, 0] / audio.samples[heard, 0] * audio.samples[heard, 1] / out.samples[heard, 1]
    )
    assert np.allclose(balance, 1.0, rtol=1e-4)


def test_pauses_do_not_decide_the_level() -> None:
    """A tone over the pause is levelled with the rest, and does not turn the speech down."""
    audio = _call()
    audio.samples[:24_000] = 0.9
    pauses = (Pause(0.0, 3.0),)
    out, _ = _levelled(audio, NormalizeLoudness(target_lufs=-20.0), LimitTruePeak(), "linked", pauses)
    assert _lufs(out.samples, pauses) == pytest.approx(-20.0, abs=0.02)


def test_what_is_too_quiet_is_raised_by_the_most_that_is_allowed_and_told() -> None:
    audio = _call(-40.0)
    out, context = _levelled(audio, NormalizeLoudness(max_gain_db=6.0), LimitTruePeak(), "independent")
    assert np.allclose(out.samples, audio.samples * np.float32(10 ** (6 / 20)), rtol=1e-5)
    assert [(warning.code, warning.channel) for warning in context.warnings] == [
        ("target_missed", 0),
        ("target_missed", 1),
    ]
    assert "6 dB at most" in context.warnings[0].message


def test_clicks_are_not_pressed_flat_to_meet_a_target() -> None:
    """Where next to all energy lies in peaks, gain ends 12 dB above what the loudness asks for, and that is told."""
    generator = np.random.default_rng(0)
    samples = generator.normal(0.0, 1e-4, (80_000, 1)).astype(np.float32)
    samples[::800] = 0.9
    before = _lufs(samples)
    audio = AudioBuffer(samples, RATE_HZ)
    out, context = _levelled(audio, NormalizeLoudness(target_lufs=-12.0), LimitTruePeak(), "independent")
    quiet = np.abs(samples) < 0.01
    raised_db = 20 * np.log10(np.median(np.abs(out.samples[quiet]) / np.abs(samples[quiet])))
    assert raised_db < -12.0 - before + 12.1
    assert [warning.code for warning in context.warnings] == ["target_missed"]
    assert _peak_db(out.samples) < -1.5 + 0.05


@pytest.mark.parametrize("seconds", [0.1, 0.39])
def test_where_loudness_is_undefined_the_level_stays(seconds: float) -> None:
    audio = _call(-20.0, seconds)
    out, context = _levelled(audio, NormalizeLoudness(), LimitTruePeak(), "independent")
    assert np.array_equal(out.samples, audio.samples)
    assert context.warnings == []


def test_samples_that_no_peak_is_near_pass_bit_for_bit() -> None:
    samples = np.full((16_000, 1), 0.1, dtype=np.float32)
    samples[8_000] = 1.0
    out = LimitTruePeak().process(AudioBuffer(samples, RATE_HZ), Context(channels="independent")).samples
    changed = np.flatnonzero((out != samples).any(axis=1))
    assert changed.min() > 8_000 - 80
    assert changed.max() < 8_000 + 400


def test_what_is_under_the_ceiling_is_not_touched() -> None:
    audio = _call(-12.0)
    assert _peak_db(audio.samples) < -2.0
    assert np.array_equal(
        LimitTruePeak().process(audio, Context(channels="independent")).samples, audio.samples
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    peaks_per_s=st.sampled_from([1, 20, 400, 8_000]),
    over_db=st.floats(0.0, 30.0),
    ceiling_dbtp=st.floats(-12.0, 0.0),
    linked=st.booleans(),
)
def test_no_peak_is_over_the_ceiling(
    seed: int, peaks_per_s: int, over_db: float, ceiling_dbtp: float, linked: bool
) -> None:
    """Within 0.1 dB, for noise, for single impulses, and for anything between."""
    generator = np.random.default_rng(seed)
    samples = generator.normal(0.0, 0.05, (8_000, 2))
    samples *= 1 + 10 ** (over_db / 20) * (generator.uniform(size=(8_000, 2)) < peaks_per_s / RATE_HZ)
    context = Context(channels="linked" if linked else "independent")
    audio = AudioBuffer(samples.astype(np.float32), RATE_HZ)
    out = LimitTruePeak(ceiling_dbtp=ceiling_dbtp).process(audio, context).samples
    assert _peak_db(out) <= max(ceiling_dbtp, -100) + 0.1
    assert (np.abs(out) <= np.abs(audio.samples)).all()


@given(seed=st.integers(0, 2**32), frames=st.integers(1, 3_000), share=st.floats(0.0, 0.3))
def test_the_gain_curve_is_the_greatest_that_its_slopes_allow(seed: int, frames: int, share: float) -> None:
    """At every frame: low enough for its own peak and for those around it, and not lower than one of them asks."""
    generator = np.random.default_rng(seed)
    reached = np.where(generator.uniform(size=frames) < share, generator.uniform(1.0, 8.0, frames), 0.1)
    reached = reached.astype(np.float32)
    found = reduction(reached, RATE_HZ, 1.0)
    curve_db = np.zeros(frames)
    curve_db[found.at] = found.db
    wanted_db = np.minimum(0.0, -20 * np.log10(reached.astype(np.float64)))
    frame = np.arange(frames)
    over = np.flatnonzero(wanted_db < 0)
    distance = frame[:, None] - over[None, :]
    slope_db = np.where(distance >= 0, distance * _RELEASE_DB_S, -distance * _ATTACK_DB_S) / RATE_HZ
    expected_db = np.minimum(0.0, (wanted_db[over][None, :] + slope_db).min(axis=1, initial=0.0))
    assert np.allclose(curve_db, expected_db, atol=1e-9)
