"""Normalizing and limiting together: the target is met after the limiter, and nothing is over the ceiling."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp import AudioBuffer, Pause
from dsp.audio import Samples
from dsp.levelling import levelled
from dsp.limiter import FAST, SMOOTH, Ballistics, Limiter
from dsp.report import ReportWarning
from dsp.stages import LimitTruePeak, NormalizeLoudness
from tests.support.recordings import TelephoneCall
from tests.support.streams import BLOCKS, energies, run, through, true_peak_dbtp

RATE_HZ = 8_000


def _call(level_db: float = 0.0, seconds: float = 12.0, seed: int = 5) -> Samples:
    samples = TelephoneCall(call_id="c", seed=seed, frames=round(seconds * RATE_HZ)).samples()
    return samples * np.float32(10 ** (level_db / 20))


def _levelled(
    samples: Samples,
    normalize: NormalizeLoudness,
    limit: LimitTruePeak,
    *,
    linked: bool = False,
    pauses: tuple[Pause, ...] = (),
) -> tuple[Samples, list[ReportWarning]]:
    filter_, warnings = levelled(
        AudioBuffer(samples, RATE_HZ),
        energies(samples, RATE_HZ, pauses),
        noisy=[limit.speed == "fast"] * samples.shape[1],
        linked=linked,
        normalize=normalize,
        limit=limit,
    )
    return through(filter_, samples), warnings


def _lufs(samples: Samples, pauses: tuple[Pause, ...] = ()) -> float:
    found = energies(samples, RATE_HZ, pauses).integrated_lufs()
    assert found is not None
    return found


@pytest.mark.parametrize("speed", ["smooth", "fast"])
@pytest.mark.parametrize(
    ("level_db", "target_lufs"), [(-15.0, -23.0), (-15.0, -18.0), (0.0, -16.0), (0.0, -14.0), (10.0, -16.0)]
)
def test_each_party_meets_the_target_after_the_limiter(
    level_db: float, target_lufs: float, speed: Literal["smooth", "fast"]
) -> None:
    out, _ = _levelled(
        _call(level_db), NormalizeLoudness(target_lufs=target_lufs), LimitTruePeak(speed=speed)
    )
    for channel in range(2):
        assert _lufs(out[:, [channel]]) == pytest.approx(target_lufs, abs=0.01)
    assert true_peak_dbtp(out) < -1.5 + 0.05


@pytest.mark.parametrize("level_db", [-15.0, 0.0, 10.0])
def test_linked_channels_meet_it_together_and_keep_their_balance(level_db: float) -> None:
    samples = _call(level_db)
    out, _ = _levelled(samples, NormalizeLoudness(), LimitTruePeak(), linked=True)
    assert _lufs(out) == pytest.approx(-16.0, abs=0.01)
    assert true_peak_dbtp(out) < -1.5 + 0.05
    heard = np.abs(samples).min(axis=1) > 1e-4
    balance = out[heard, 0] / samples[heard, 0] * samples[heard, 1] / out[heard, 1]
    assert np.allclose(balance, 1.0, rtol=1e-4)


def test_pauses_do_not_decide_the_level() -> None:
    """A tone over the pause is levelled with the rest, and does not turn the speech down."""
    samples = _call()
    samples[:24_000] = 0.9
    pauses = (Pause(0.0, 3.0),)
    wanted = NormalizeLoudness(target_lufs=-20.0)
    out, _ = _levelled(samples, wanted, LimitTruePeak(), linked=True, pauses=pauses)
    assert _lufs(out, pauses) == pytest.approx(-20.0, abs=0.01)


def test_what_is_too_quiet_is_raised_by_the_most_that_is_allowed_and_told() -> None:
    samples = _call(-40.0)
    out, warnings = _levelled(samples, NormalizeLoudness(max_gain_db=6.0), LimitTruePeak())
    assert np.allclose(out, samples * np.float32(10 ** (6 / 20)), rtol=1e-5)
    assert [(warning.code, warning.channel) for warning in warnings] == [
        ("target_missed", 0),
        ("target_missed", 1),
    ]
    assert "6 dB at most" in warnings[0].message


def test_clicks_are_not_pressed_flat_to_meet_a_target() -> None:
    """Where next to all energy lies in peaks, gain ends 12 dB above what the loudness asks for, and that is told."""
    generator = np.random.default_rng(0)
    samples = generator.normal(0.0, 1e-4, (80_000, 1)).astype(np.float32)
    samples[::800] = 0.9
    before = _lufs(samples)
    out, warnings = _levelled(samples, NormalizeLoudness(target_lufs=-12.0), LimitTruePeak())
    quiet = np.abs(samples) < 0.01
    raised_db = 20 * np.log10(np.median(np.abs(out[quiet]) / np.abs(samples[quiet])))
    assert raised_db < -12.0 - before + 12.1
    assert [warning.code for warning in warnings] == ["target_missed"]
    assert true_peak_dbtp(out) < -1.5 + 0.05


@pytest.mark.parametrize("seconds", [0.1, 0.39])
def test_where_loudness_is_undefined_the_level_stays(seconds: float) -> None:
    samples = _call(-20.0, seconds)
    out, warnings = _levelled(samples, NormalizeLoudness(), LimitTruePeak())
    assert np.array_equal(out, samples)
    assert warnings == []


@pytest.mark.parametrize(("speed", "moves"), [("smooth", SMOOTH), ("fast", FAST)])
def test_samples_that_no_peak_is_near_pass_bit_for_bit(
    speed: Literal["smooth", "fast"], moves: Ballistics
) -> None:
    """The gain begins to fall the attack before a peak, and is back the release after it."""
    samples = (0.1 * np.sin(np.arange(16_000) / 3)).astype(np.float32)[:, None]
    samples[8_000] = 1.0
    out = run(LimitTruePeak(speed=speed), samples)
    changed = np.flatnonzero((out != samples).any(axis=1))
    # A peak next to the sample, on either side, is as high.
    assert changed.min() >= 8_000 - moves.attack_s * RATE_HZ - 1
    assert changed.max() <= 8_001 + moves.release_s * RATE_HZ
    assert changed.max() - changed.min() > (moves.attack_s + moves.release_s) * RATE_HZ - 5


def test_what_is_under_the_ceiling_is_not_touched() -> None:
    samples = _call(-12.0)
    assert true_peak_dbtp(samples) < -2.0
    assert np.array_equal(run(LimitTruePeak(), samples), samples)


def test_there_is_no_pumping() -> None:
    """Smooth: between the pulses of a low voice, 10 ms apart, less than half of 6 dB come back.

    And 20 ms after the last one all of it has, before anybody hears the room breathe.
    """
    samples = np.full((8_000, 1), 1e-3, dtype=np.float32)
    samples[2_000:6_000:80] = 1.68
    gain_db = 20 * np.log10(run(LimitTruePeak(speed="smooth"), samples) / samples)[:, 0]
    spoken = gain_db[2_400:5_600]
    assert spoken.min() == pytest.approx(-6.0, abs=0.1)
    assert spoken.max() < -3.0
    assert not gain_db[5_920 + 1 + round(SMOOTH.release_s * RATE_HZ) + 1 :].any()


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("block_frames", BLOCKS)
def test_how_the_stream_is_cut_changes_not_one_bit(block_frames: int, linked: bool) -> None:
    samples = _call(18.0, seconds=1.5)
    whole = run(LimitTruePeak(), samples, linked=linked)
    assert true_peak_dbtp(samples) > 0.0
    cut = run(LimitTruePeak(), samples, linked=linked, block_frames=block_frames)
    assert cut.tobytes() == whole.tobytes()


def test_noise_decides_how_fast_the_limiter_is() -> None:
    """Clean speech gets the smooth one, noisy speech the fast one; the chain may say which."""
    clean = _call(24.0, seconds=4.0)
    clean[:, 1] += np.random.default_rng(1).normal(0, 0.1, len(clean)).astype(np.float32)
    by_itself, smooth, fast = (run(LimitTruePeak(speed=speed), clean) for speed in ("auto", "smooth", "fast"))
    assert np.array_equal(by_itself[:, 1], fast[:, 1])
    assert not np.array_equal(by_itself[:, 1], smooth[:, 1])


def test_one_gain_curve_for_all_where_it_is_asked_for() -> None:
    """``link`` holds whatever the levels do: by default channels that are levelled alone are limited alone."""
    samples = _call(24.0, seconds=2.0)
    samples[:, 1] *= 0.05
    alone, linked = (run(LimitTruePeak(link=link), samples) for link in (None, True))
    assert np.array_equal(alone[:, 1], samples[:, 1])
    assert not np.array_equal(linked[:, 1], samples[:, 1])
    out, _ = _levelled(samples, NormalizeLoudness(), LimitTruePeak(link=True))
    for channel in range(2):
        assert _lufs(out[:, [channel]]) == pytest.approx(-16.0, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    peaks_per_s=st.sampled_from([1, 20, 400, 8_000]),
    over_db=st.floats(0.0, 30.0),
    ceiling_dbtp=st.floats(-12.0, 0.0),
    linked=st.booleans(),
    speed=st.sampled_from(["smooth", "fast"]),
)
def test_no_peak_is_over_the_ceiling(
    seed: int,
    peaks_per_s: int,
    over_db: float,
    ceiling_dbtp: float,
    linked: bool,
    speed: Literal["smooth", "fast"],
) -> None:
    """Within 0.1 dB, for noise, for single impulses, and for anything between."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0.0, 0.05, (8_000, 2))
    noise *= 1 + 10 ** (over_db / 20) * (generator.uniform(size=(8_000, 2)) < peaks_per_s / RATE_HZ)
    samples = noise.astype(np.float32)
    out = run(LimitTruePeak(ceiling_dbtp=ceiling_dbtp, speed=speed), samples, linked=linked)
    assert true_peak_dbtp(out) <= ceiling_dbtp + 0.1
    assert (np.abs(out) <= np.abs(samples)).all()


def test_a_gain_is_part_of_the_limiter() -> None:
    samples = np.full((100, 2), 0.1, dtype=np.float32)
    out = through(Limiter(RATE_HZ, [2.0, 0.5], ceiling_dbtp=0.0), samples)
    assert np.allclose(out, [0.2, 0.05])
