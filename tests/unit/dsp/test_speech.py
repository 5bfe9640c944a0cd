"""Speech against noise: known levels in, known levels out."""

from __future__ import annotations

import numpy as np
import pytest

from dsp import Pause
from dsp.audio import Samples
from dsp.speech import SpeechLevels, decide, speech_levels

RATE_HZ = 8_000


def _levels(channel: Samples, pauses: tuple[Pause, ...] = ()) -> SpeechLevels:
    return speech_levels(decide(channel, RATE_HZ, pauses))


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
    decision = decide(party, RATE_HZ)
    noise = decision.noise_samples(party, 0, party.size)
    assert noise.size > 5 * RATE_HZ
    assert 20 * np.log10(np.abs(noise).max()) < -50 + 15
    half = decision.noise_samples(party, 0, party.size // 2)
    assert np.array_equal(noise[: half.size], half)
