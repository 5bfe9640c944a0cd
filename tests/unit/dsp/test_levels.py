"""The level meter: laws that hold for any stream, and signals of which every figure is known."""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dsp import Pause
from dsp.audio import Samples, paused
from dsp.levels import ChannelLevels, LevelMeter, silence_share

RATE_HZ = 8_000
FRAME = 160
SEED = st.integers(0, 2**32 - 1)


def _measured(
    samples: Samples,
    sample_rate_hz: int = RATE_HZ,
    pauses: tuple[Pause, ...] = (),
    cuts: tuple[int, ...] = (),
) -> tuple[ChannelLevels, ...]:
    """Measure shape (frames, channels), cut at some frames."""
    meter = LevelMeter(sample_rate_hz, samples.shape[1], pauses)
    for block in np.split(samples, sorted(cuts)):
        meter.push(block)
    return meter.finish()


def _alone(samples: Samples, pauses: tuple[Pause, ...] = ()) -> ChannelLevels:
    """Measure one channel, shape (frames,)."""
    return _measured(samples[:, None], pauses=pauses)[0]


def _same(one: ChannelLevels, other: ChannelLevels) -> bool:
    """To the bit."""
    arrays = ("power", "speech", "noise")
    return all(
        np.array_equal(getattr(one.decision, name), getattr(other.decision, name)) for name in arrays
    ) and all(getattr(one, name) == getattr(other, name) for name in vars(one) if name != "decision")


def _talk(seconds: float, speech_dbfs: float = -20.0, noise_dbfs: float = -60.0, seed: int = 5) -> Samples:
    """Words of 0.6 s with 0.4 s between them, over noise; shape (frames,)."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    voice = generator.normal(0.0, 10 ** (speech_dbfs / 20), time_s.size) * (time_s % 1.0 < 0.6)
    noise = generator.normal(0.0, 10 ** (noise_dbfs / 20), time_s.size)
    return (voice + noise).astype(np.float32)


def _coarse(seed: int, frames: int, channels: int = 1) -> Samples:
    """Few steps, so that samples clip, repeat and are zero for long."""
    generator = np.random.default_rng(seed)
    steps = generator.choice([0.0, 0.0, 0.01, -0.2, 0.98, -0.98], (frames // 50 + 1, channels))
    samples = np.repeat(steps, 50, axis=0)[:frames]
    samples[generator.random(frames) < 0.02] *= 0.5
    return samples.astype(np.float32)


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 48_000])
@pytest.mark.parametrize("length", [1, 7, 160, 4_096, 100_000])
def test_blocks_of_any_length_give_the_same_bits(sample_rate_hz: int, length: int) -> None:
    samples = _coarse(7, 20_011, 2)
    pauses = (Pause(0.3, 0.42),)
    whole = _measured(samples, sample_rate_hz, pauses)
    cut = _measured(samples, sample_rate_hz, pauses, tuple(range(length, len(samples), length)))
    assert all(map(_same, whole, cut))


@given(seed=SEED, frames=st.integers(0, 3_000), cuts=st.lists(st.integers(0, 3_000), max_size=8))
def test_where_a_stream_is_cut_changes_nothing(seed: int, frames: int, cuts: list[int]) -> None:
    samples = _coarse(seed, frames)
    assert _same(_measured(samples)[0], _measured(samples, cuts=tuple(cuts))[0])


def test_blocks_are_not_changed_and_lie_as_they_like() -> None:
    """Rows or columns first, and strides between them."""
    samples = np.stack([_talk(3.0), _talk(3.0, seed=6)], axis=1)
    before = samples.copy()
    expected = _measured(np.asfortranarray(samples))
    assert all(map(_same, expected, _measured(samples)))
    assert all(map(_same, expected, _measured(np.repeat(samples, 2, axis=1)[:, ::2])))
    assert np.array_equal(samples, before)


def test_channels_are_measured_alone_and_in_order() -> None:
    parties = [_talk(5.0), np.zeros(5 * RATE_HZ, dtype=np.float32), _talk(5.0, -35.0, seed=9)]
    together = _measured(np.stack(parties, axis=1))
    assert all(map(_same, together, map(_alone, parties)))


@pytest.mark.parametrize("octaves", [-3, -1, 1])
def test_gain_shifts_every_level_by_itself(octaves: int) -> None:
    """By powers of two no sample is rounded, and the thresholds of P.56 are met one for one."""
    talk = _talk(20.0, -26.0)
    gain_db = 20 * math.log10(2) * octaves
    before, after = _alone(talk), _alone(talk * np.float32(2.0**octaves))
    assert before.speech.speech_dbfs is not None
    assert before.active_speech_level_dbfs is not None
    assert after.speech.speech_dbfs == pytest.approx(before.speech.speech_dbfs + gain_db, abs=1e-6)
    assert after.speech.noise_dbfs == pytest.approx(-60 + gain_db, abs=0.5)
    assert after.active_speech_level_dbfs == pytest.approx(
        before.active_speech_level_dbfs + gain_db, abs=1e-6
    )
    assert after.activity_factor == pytest.approx(before.activity_factor, abs=1e-9)
    assert after.sample_peak == before.sample_peak * 2.0**octaves
    assert np.array_equal(after.decision.speech, before.decision.speech)


@given(gain_db=st.floats(-20.0, 6.0))
def test_any_gain_shifts_the_active_speech_level_by_itself(gain_db: float) -> None:
    """Within 0.1 dB: P.56 interpolates between thresholds 6 dB apart."""
    talk = _talk(6.0, -26.0, -75.0)
    before = _alone(talk).active_speech_level_dbfs
    after = _alone(talk * np.float32(10 ** (gain_db / 20))).active_speech_level_dbfs
    assert before is not None
    assert after == pytest.approx(before + gain_db, abs=0.1)


@given(seed=SEED, frames=st.integers(0, 2_000), start_s=st.floats(0.0, 0.25), length_s=st.floats(0.0, 0.1))
def test_what_is_in_a_pause_changes_nothing(seed: int, frames: int, start_s: float, length_s: float) -> None:
    samples = _coarse(seed, frames)
    begin, end = int(start_s * RATE_HZ), math.ceil((start_s + length_s) * RATE_HZ)
    other = samples.copy()
    other[begin:end] = _coarse(seed ^ 1, frames)[begin:end] - np.float32(1.5)
    pauses = (Pause(start_s, start_s + length_s),)
    assert _same(_measured(samples, pauses=pauses)[0], _measured(other, pauses=pauses)[0])


def test_pauses_may_overlap_and_come_in_any_order() -> None:
    talk = _talk(5.0)
    one = _alone(talk, (Pause(1.0, 2.5),))
    assert _same(one, _alone(talk, (Pause(1.8, 2.5), Pause(1.0, 1.9), Pause(1.2, 1.3), Pause(9.0, 1e9))))
    assert one.frames == 250 - 75


def test_a_pause_leaves_out_its_own_samples_alone() -> None:
    """A frame that touches it is not judged, and yet its other samples have a peak, a mean and a power."""
    samples = np.full(FRAME * 3, 0.25, dtype=np.float32)
    samples[FRAME + 80 : FRAME * 2] = 0.75
    levels = _alone(samples, (Pause((FRAME + 80) / RATE_HZ, FRAME * 2 / RATE_HZ),))
    assert levels.sample_peak == 0.25
    assert levels.dc_offset == 0.25
    assert levels.frames == 2


def test_all_in_a_pause_is_nothing() -> None:
    levels = _alone(_talk(2.0), (Pause(0.0, 3.0),))
    assert (levels.frames, levels.silence_share, levels.dc_offset) == (0, None, None)
    assert (levels.sample_peak, levels.active_speech_level_dbfs) == (0.0, None)


@pytest.mark.parametrize("frames", [0, 1, 159, 160, 3_192, 80_000])
def test_silence_of_any_length_has_no_levels(frames: int) -> None:
    levels = _alone(np.zeros(frames, dtype=np.float32))
    assert (levels.active_speech_level_dbfs, levels.activity_factor) == (None, None)
    assert (levels.sample_peak, levels.clipped_samples, levels.dropouts, levels.dropout_s) == (0.0, 0, 0, 0.0)
    assert levels.dc_offset == (0.0 if frames else None)
    assert levels.silence_share == (1.0 if frames >= FRAME else None)


@pytest.mark.parametrize("frames", [1, 159, 3_192])
def test_short_sound_has_a_peak_and_a_mean(frames: int) -> None:
    levels = _alone(np.full(frames, -0.5, dtype=np.float32))
    assert (levels.sample_peak, levels.dc_offset) == (0.5, -0.5)


def test_a_constant_is_no_speech() -> None:
    levels = _alone(np.full(10 * RATE_HZ, 0.1, dtype=np.float32))
    assert levels.dc_offset == pytest.approx(0.1, abs=1e-8)
    assert levels.silence_share == 1.0
    assert levels.speech.speech_dbfs is None


def test_an_offset_under_speech_is_found() -> None:
    talk = _talk(10.0)
    assert _alone(talk + np.float32(0.02)).dc_offset == pytest.approx(float(talk.mean()) + 0.02, abs=1e-6)


def test_a_full_scale_square_is_all_clipped() -> None:
    """Each half wave is a run."""
    square = np.where(np.arange(RATE_HZ) // 40 % 2, -1.0, 1.0).astype(np.float32)
    levels = _alone(square)
    assert (levels.clipped_samples, levels.clipping_runs) == (RATE_HZ, RATE_HZ // 40)
    assert levels.active_speech_level_dbfs == pytest.approx(0.0, abs=0.1)


def test_a_single_impulse_has_no_active_level() -> None:
    """Its power is nowhere near 15.9 dB above any threshold that it passes."""
    impulse = np.zeros(5 * RATE_HZ, dtype=np.float32)
    impulse[RATE_HZ] = 1.0
    levels = _alone(impulse)
    assert (levels.active_speech_level_dbfs, levels.activity_factor) == (None, None)
    assert (levels.sample_peak, levels.clipped_samples) == (1.0, 0)


def _clipping(samples: Samples, counted: NDArray[np.bool_]) -> tuple[int, int]:
    """Clipped samples and their runs, plainly."""
    peak = float(np.abs(samples).max(where=counted, initial=0.0))
    at_peak = [float(x) if abs(x) >= peak and c else 0.0 for x, c in zip(samples, counted, strict=True)]
    runs = [len(list(run)) for value, run in groupby(at_peak) if value]
    long = [run for run in runs if run > 1] if peak >= 0.97 else []
    return sum(long), len(long)


@given(seed=SEED, frames=st.integers(0, 3_000), start=st.integers(0, 3_000), length=st.integers(0, 400))
def test_clipping_is_what_lies_at_the_peak_in_runs(seed: int, frames: int, start: int, length: int) -> None:
    samples = _coarse(seed, frames)[:, 0]
    pauses = (Pause(start / RATE_HZ, (start + length) / RATE_HZ),)
    levels = _alone(samples, pauses)
    expected = _clipping(samples, ~paused(frames, RATE_HZ, pauses))
    assert (levels.clipped_samples, levels.clipping_runs) == expected


def test_a_louder_peak_makes_those_before_no_clipping() -> None:
    samples = _talk(2.0)
    samples[1_000:1_003] = 0.98
    samples[9_000:9_002] = -0.99
    levels = _alone(samples)
    assert (levels.clipped_samples, levels.clipping_runs) == (2, 1)


def test_a_run_across_frames_is_one() -> None:
    samples = _talk(1.0)
    samples[FRAME - 2 : 2 * FRAME + 3] = 0.98
    levels = _alone(samples)
    assert (levels.clipped_samples, levels.clipping_runs) == (FRAME + 5, 1)


def test_the_powers_are_variances() -> None:
    """Of each frame in double precision, whatever the offset."""
    talk = _talk(4.0, -60.0, -90.0) + np.float32(0.5)
    expected = talk.astype(np.float64).reshape(-1, FRAME).var(axis=1)
    assert _alone(talk).decision.power == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("begin", [25_600, 25_677, 25_759])
@pytest.mark.parametrize("length", [32, 160, 481, 1_600])
def test_zeros_that_cut_into_speech_are_a_dropout(begin: int, length: int) -> None:
    talk = _talk(8.0)
    talk[begin : begin + length] = 0.0
    levels = _alone(talk)
    assert (levels.dropouts, levels.dropout_s) == (1, length / RATE_HZ)


def test_dropouts_are_counted_each() -> None:
    talk = _talk(12.0)
    for second in range(1, 11):
        talk[second * RATE_HZ + 1_000 :][: 100 + second] = 0.0
    levels = _alone(talk)
    assert levels.dropouts == 10
    assert levels.dropout_s == pytest.approx((10 * 100 + 55) / RATE_HZ)


def test_zeros_elsewhere_are_none() -> None:
    """Under 4 ms; over 1 s; at the ends; between words; and where the voice fades into them."""
    talk = _talk(16.0)
    talk[: RATE_HZ // 4] = 0.0
    talk[2 * RATE_HZ + 1_000 :][:31] = 0.0
    talk[3 * RATE_HZ + 1_000 :][: RATE_HZ + 1_000] = 0.0
    talk[6 * RATE_HZ + 5_600 :][:1_600] = 0.0
    faded = talk[8 * RATE_HZ + 1_000 :][: 3 * FRAME]
    faded *= np.abs(np.linspace(-1.0, 1.0, faded.size)).clip(0.3) - np.float32(0.3)
    talk[-RATE_HZ // 2 :] = 0.0
    assert _alone(talk).dropouts == 0


def test_a_pause_is_no_dropout() -> None:
    """Muted by the recorder, cut out of the middle of a word."""
    talk = _talk(8.0)
    talk[3 * RATE_HZ + 1_000 :][:1_600] = 0.0
    begin_s = 3 + 1_000 / RATE_HZ
    assert _alone(talk).dropouts == 1
    assert _alone(talk, (Pause(begin_s, begin_s + 0.2),)).dropouts == 0


def test_silence_is_where_nobody_speaks() -> None:
    """Parties that take turns leave none of the other's."""
    talk = _talk(24.0)
    turns = np.arange(talk.size) // (4 * RATE_HZ) % 2 == 0
    hum = _talk(24.0, -120.0, seed=8)
    first, second = (np.where(turn, talk, hum) for turn in (turns, ~turns))
    levels = _measured(np.stack([first, second], axis=1))
    assert levels[0].silence_share == pytest.approx(0.7, abs=0.02)
    assert levels[1].silence_share == pytest.approx(0.7, abs=0.02)
    assert silence_share(levels) == pytest.approx(0.4, abs=0.04)
    assert silence_share(()) is None
    assert silence_share(_measured(np.zeros((5, 2), dtype=np.float32))) is None


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=40),
    repeats=st.integers(1, 60),
)
def test_any_finite_input_gives_finite_figures(values: list[float], repeats: int) -> None:
    levels = _alone(np.repeat(np.array(values, dtype=np.float32), repeats))
    figures = [getattr(levels, name) for name in vars(levels) if name not in ("decision", "speech")]
    figures += [levels.speech.speech_dbfs, levels.speech.noise_dbfs, levels.speech.snr_db]
    assert all(math.isfinite(figure) for figure in figures if figure is not None)
    assert np.isfinite(levels.decision.power).all()


def test_no_channel_is_no_measurement() -> None:
    assert _measured(np.zeros((100, 0), dtype=np.float32)) == ()
