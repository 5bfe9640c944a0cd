"""Dehum: hum is found where it is and nowhere else, goes down deep, and takes little of the speech along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dsp.audio import AudioBuffer, Samples
from dsp.hum import find_hum
from dsp.stages import Context
from dsp.stages.dehum import DeHum
from tests.support.sounds import example, rms_db
from tests.support.streams import context_of, through

RATE_HZ = 8_000
EXAMPLES = ["appointment", "breakdown", "hotel", "invoice", "parcel"]


def _hum(
    frames: int,
    *,
    mains_hz: float = 50.03,
    dbfs: float = -30.0,
    harmonics: Sequence[int] = range(1, 21),
    drift_hz: float = 0.0,
    rate_hz: int = RATE_HZ,
) -> Samples:
    """Lines of random phase whose power falls with their order, shape (frames, 1)."""
    generator = np.random.default_rng(11)
    now_hz = mains_hz + drift_hz * np.arange(frames) / max(frames, 1)
    phase = 2 * np.pi * np.cumsum(now_hz) / rate_hz
    lines = [np.sin(k * phase + generator.uniform(0, 2 * np.pi)) / np.sqrt(k) for k in harmonics]
    hum = np.sum(lines, axis=0)
    scaled: Samples = (hum * 10 ** (dbfs / 20) / np.sqrt(np.mean(hum**2)))[:, None].astype(np.float32)
    return scaled


def _noise(frames: int, dbfs: float = -60.0, seed: int = 3) -> Samples:
    noise: Samples = (
        np.random.default_rng(seed).normal(0.0, 10 ** (dbfs / 20), (frames, 1)).astype(np.float32)
    )
    return noise


def _dehummed(sound: Samples, rate_hz: int = RATE_HZ, block_frames: int = 4_096) -> tuple[Samples, Context]:
    context = context_of(sound, rate_hz)
    return through(DeHum().open(context), sound, block_frames), context


def _turns() -> Samples:
    """A call's party with no noise to speak of in its pauses, shape (frames, 1)."""
    call = example("hotel")[:, [0]]
    speech = context_of(call).decisions[0].speech
    around = np.convolve(speech, np.ones(11), mode="same") > 0
    words = np.where(around.repeat(160)[: len(call), None], call[: around.size * 160], 0.0)
    party: Samples = (words + _noise(len(words), -70.0)).astype(np.float32)
    return party


@pytest.mark.parametrize(
    ("mains_hz", "harmonics", "dbfs"),
    [
        (50.03, range(1, 21), -30.0),
        (49.85, [1], -45.0),
        (59.9, range(5, 12), -40.0),
        (60.2, [2, 4, 6, 8], -35.0),
        (50.0, range(7, 39, 2), -40.0),
    ],
)
def test_hum_is_found_to_the_line_and_goes_down(
    mains_hz: float, harmonics: Sequence[int], dbfs: float
) -> None:
    """By 40 dB in steady noise, from the first moment on; also where the telephone took the first lines away."""
    hum = _hum(20 * RATE_HZ, mains_hz=mains_hz, dbfs=dbfs, harmonics=harmonics)
    noise = _noise(len(hum), -75.0)
    sound = (hum + noise).astype(np.float32)
    (found,) = find_hum(context_of(sound).audio, context_of(sound).decisions)
    assert found is not None
    assert found.harmonics == tuple(harmonics)
    assert found.mains_hz == pytest.approx(mains_hz, abs=0.002)
    assert found.level_dbfs == pytest.approx(dbfs, abs=0.3)
    left = _dehummed(sound)[0] - noise
    assert rms_db(left) < dbfs - 40.0
    assert rms_db(left[:1_600]) < dbfs - 25.0


def test_hum_under_speech_goes_down_by_20_db_and_the_speech_stays() -> None:
    """What is left of the hum, and what was taken of the speech, together lie 24 dB below the hum; in pauses 40."""
    party = _turns()
    hum = _hum(len(party))
    out, context = _dehummed((party + hum).astype(np.float32))
    assert rms_db(out - party) < rms_db(hum) - 24.0
    speech = context_of(party.astype(np.float32)).decisions[0].speech.repeat(160)
    pause = slice(5 * RATE_HZ, 7 * RATE_HZ)
    assert not speech[pause].any()
    assert rms_db((out - party)[pause]) < rms_db(hum) - 40.0
    assert abs(rms_db(out[: speech.size][speech]) - rms_db(party[: speech.size][speech])) < 0.1
    assert context.warnings[0].code == "hum_removed"
    assert context.warnings[0].channel == 0
    assert "Mains hum of 50.03 Hz at -30" in context.warnings[0].message


def test_hum_that_drifts_is_followed() -> None:
    """0.05 Hz in 100 s, which is 1 Hz at the twentieth line."""
    hum = _hum(100 * RATE_HZ, mains_hz=49.97, drift_hz=0.05)
    noise = _noise(len(hum), -75.0)
    out, context = _dehummed((hum + noise).astype(np.float32))
    seconds = (out - noise)[: 100 * RATE_HZ].reshape(100, -1)
    down_db = np.array([rms_db(second) + 30.0 for second in seconds])
    assert down_db.max() < -20.0
    assert np.median(down_db) < -40.0
    assert "49.97 to 50.02 Hz" in context.warnings[0].message


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_call_without_hum_passes_bit_for_bit(name: str) -> None:
    call = example(name)
    out, context = _dehummed(call)
    assert np.array_equal(out, call)
    assert context.warnings == []


@pytest.mark.parametrize(
    "tones_hz",
    [(350.0, 440.0), (350.0, 450.0), (425.0,), (400.0, 450.0), (480.0, 620.0), (697.0, 1209.0), (1000.0,)],
)
def test_tones_of_the_telephone_are_no_hum(tones_hz: tuple[float, ...]) -> None:
    """Dial and busy tones of many countries lie on multiples of 50 or 60 Hz."""
    time_s = np.arange(10 * RATE_HZ) / RATE_HZ
    tones = np.sum([0.1 * np.sin(2 * np.pi * tone_hz * time_s) for tone_hz in tones_hz], axis=0)
    sound = (tones[:, None] + _noise(time_s.size)).astype(np.float32)
    out, context = _dehummed(sound)
    assert np.array_equal(out, sound)
    assert context.warnings == []


def test_only_the_channels_that_hum_are_touched() -> None:
    """And each by its own mains: one end of the line may be on another continent."""
    silence = np.zeros((10 * RATE_HZ, 1), dtype=np.float32)
    hums = [_hum(10 * RATE_HZ), silence, _hum(10 * RATE_HZ, mains_hz=59.98)]
    channels = [hum + _noise(len(hum), seed=seed) for seed, hum in enumerate(hums)]
    sound = np.concatenate(channels, axis=1).astype(np.float32)
    out, context = _dehummed(sound)
    assert np.array_equal(out[:, 1], sound[:, 1])
    assert [warning.channel for warning in context.warnings] == [0, 2]
    assert "59.98 Hz" in context.warnings[1].message
    for channel in (0, 2):
        assert rms_db(out[:, channel]) < -50.0
        alone, _ = _dehummed(sound[:, [channel]])
        assert np.array_equal(alone[:, 0], out[:, channel])


def test_digital_silence_in_the_middle_stays_silent() -> None:
    """A line that is muted now and then: no hum is subtracted where there is none, and it is gone at once after."""
    hum = _hum(20 * RATE_HZ) + _noise(20 * RATE_HZ)
    hum[8 * RATE_HZ : 11 * RATE_HZ] = 0.0
    out, _ = _dehummed(hum.astype(np.float32))
    assert not out[8 * RATE_HZ : 11 * RATE_HZ].any()
    assert rms_db(out[round(11.05 * RATE_HZ) : 12 * RATE_HZ]) < -50.0


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 48_000])
def test_the_cut_into_blocks_changes_no_bit(rate_hz: int) -> None:
    sound = _hum(round(3.3 * rate_hz), rate_hz=rate_hz) + _noise(round(3.3 * rate_hz))
    sound = sound.astype(np.float32)
    whole, context = _dehummed(sound, rate_hz, len(sound))
    assert len(context.warnings) == 1
    assert whole.shape == sound.shape
    assert whole.dtype == np.float32
    assert rms_db(whole[rate_hz:]) < -50.0
    for block_frames in (160, 4_096, 100_000):
        assert _dehummed(sound, rate_hz, block_frames)[0].tobytes() == whole.tobytes()


@pytest.mark.parametrize("block_frames", [1, 7])
def test_the_cut_into_the_smallest_blocks_changes_no_bit(block_frames: int) -> None:
    sound = (_hum(17_000) + _noise(17_000)).astype(np.float32)
    whole, context = _dehummed(sound, block_frames=len(sound))
    assert len(context.warnings) == 1
    assert _dehummed(sound, block_frames=block_frames)[0].tobytes() == whole.tobytes()


def test_it_is_linear() -> None:
    """Half as much in is half as much out: nothing depends on the level but whether it stands out."""
    sound = (_hum(5 * RATE_HZ) + _noise(5 * RATE_HZ)).astype(np.float32)
    out, _ = _dehummed(sound)
    half, _ = _dehummed(sound * np.float32(0.5))
    assert np.allclose(half * 2, out, atol=1e-6)


@pytest.mark.parametrize("frames", [0, 1, 399, 3_199, 40_000])
def test_silence_of_any_length_stays_silent(frames: int) -> None:
    silence = np.zeros((frames, 2), dtype=np.float32)
    out, _ = _dehummed(silence)
    assert np.array_equal(out, silence)


@pytest.mark.parametrize("frames", [1, 399, 3_199, 8_001, 12_000])
def test_a_recording_too_short_to_know_passes(frames: int) -> None:
    sound = (_hum(frames) + _noise(frames)).astype(np.float32)
    assert np.array_equal(_dehummed(sound)[0], sound)


SHAPES = {
    "offset": np.full((40_000, 1), 0.5),
    "square of 50 Hz": np.sign(np.sin(2 * np.pi * 50 * (np.arange(40_000) + 0.5) / RATE_HZ))[:, None],
    "impulses": (np.arange(40_000) % 160 == 0)[:, None] * 1.0,
    "absurd": _hum(40_000) * 1e30,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_goes_in_finite_numbers_come_out(shape: str) -> None:
    sound = SHAPES[shape].astype(np.float32)
    before = sound.copy()
    # As loud as that no level is measured: decided as if it were at its usual one.
    context = replace(context_of(_hum(40_000)), audio=AudioBuffer(sound, RATE_HZ))
    assert np.isfinite(through(DeHum().open(context), sound)).all()
    assert np.array_equal(sound, before)
