"""Loudness: the cases of EBU Tech 3341 and 3342 at telephone rates, and where it is not defined."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import sosfilt

from dsp import Pause
from dsp.audio import Samples
from dsp.k_weighting import _FITTED, fitted, k_weighting, response_db
from dsp.loudness import EnergyMeter, step_frames
from tests.support.streams import BLOCKS, energies, heard

RATES_HZ = [8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000]


def _tone(levels: list[tuple[float, float]], sample_rate_hz: int = 8_000, channels: int = 2) -> Samples:
    """A sine of 1 kHz through (level in dBFS, seconds)."""
    gain = np.concatenate([np.full(round(s * sample_rate_hz), 10 ** (level / 20)) for level, s in levels])
    wave = gain * np.sin(2 * np.pi * 1000 * np.arange(gain.size) / sample_rate_hz)
    samples: Samples = np.repeat(wave[:, None], channels, axis=1).astype(np.float32)
    return samples


def _lufs(samples: Samples, sample_rate_hz: int = 8_000, pauses: tuple[Pause, ...] = ()) -> float:
    found = energies(samples, sample_rate_hz, pauses).integrated_lufs()
    assert found is not None
    return found


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize("level", [-23.0, -33.0])
def test_tech_3341_cases_1_and_2(level: float, sample_rate_hz: int) -> None:
    """A stereo sine of 1 kHz at -23 and -33 dBFS has as many LUFS, +-0.1 LU."""
    assert _lufs(_tone([(level, 20)], sample_rate_hz), sample_rate_hz) == pytest.approx(level, abs=0.1)


GATED: dict[int, tuple[list[tuple[float, float]], float]] = {
    3: ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
    4: ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
    5: ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
}


@pytest.mark.parametrize("case", GATED)
def test_tech_3341_cases_of_the_gates(case: int) -> None:
    """Quiet stretches do not count: neither below -70 LUFS nor 10 LU below the rest."""
    levels, expected = GATED[case]
    assert _lufs(_tone(levels)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [([(-20, 20), (-30, 20)], 10), ([(-20, 20), (-15, 20)], 5), ([(-40, 20), (-20, 20)], 20)],
)
def test_tech_3342_cases_1_to_3(levels: list[tuple[float, float]], expected: float) -> None:
    """Loudness range of two levels after each other, +-1 LU."""
    assert energies(_tone(levels)).loudness().range_lu == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
def test_the_k_filter_is_that_of_48_khz_at_every_rate(sample_rate_hz: int) -> None:
    """Within 0.025 dB from 20 Hz to 0.49 of the rate, where the bilinear transform bends by 0.5 dB."""
    frequencies_hz = np.geomspace(20, 0.49 * sample_rate_hz, 300)
    own, standard = (
        response_db(k_weighting(rate_hz), frequencies_hz, rate_hz) for rate_hz in (sample_rate_hz, 48_000)
    )
    assert np.abs(own - standard).max() < 0.025


@pytest.mark.parametrize("sample_rate_hz", [8_000, 16_000, 44_100])
def test_the_table_is_what_the_fit_gives(sample_rate_hz: int) -> None:
    """In its response: the gain may be in either section."""
    frequencies_hz = np.geomspace(20, 0.49 * sample_rate_hz, 100)
    again, table = (
        response_db(sections, frequencies_hz, sample_rate_hz)
        for sections in (fitted(sample_rate_hz), np.array(_FITTED[sample_rate_hz]))
    )
    assert np.abs(again - table).max() < 0.002


def test_a_rate_that_nobody_foresaw_is_fitted() -> None:
    """9600 Hz stands in no table."""
    assert 9_600 not in _FITTED
    assert _lufs(_tone([(-23.0, 5)], 9_600), 9_600) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((0, 1), dtype=np.float32),
        np.zeros((80_000, 2), dtype=np.float32),
        _tone([(-20.0, 0.39)]),
        _tone([(-80.0, 10)]),
    ],
    ids=["nothing", "silence", "under 400 ms", "below -70 LUFS"],
)
def test_where_loudness_is_undefined_it_is_none(samples: NDArray[np.float32]) -> None:
    """Not minus infinity, and no error."""
    found = energies(samples).loudness()
    assert (found.integrated_lufs, found.range_lu) == (None, None)


def test_under_3_s_there_is_a_loudness_and_no_range() -> None:
    found = energies(_tone([(-20.0, 2.9)])).loudness()
    assert found.integrated_lufs == pytest.approx(-20.0, abs=0.1)
    assert found.range_lu is None


def test_one_channel_is_a_mono_programme_with_weight_1() -> None:
    """Two equal channels are 3 LU louder than each of them."""
    sound = energies(_tone([(-23.0, 5)]))
    alone, together = sound.loudness(0).integrated_lufs, sound.loudness().integrated_lufs
    assert alone is not None
    assert together == pytest.approx(alone + 10 * np.log10(2), abs=1e-9)


def test_pauses_do_not_count() -> None:
    """What is 20 dB louder in a pause changes nothing."""
    loud = _tone([(-30, 10), (-10, 5), (-30, 10)])
    assert _lufs(loud, pauses=(Pause(10.0, 15.0),)) == pytest.approx(-30.0, abs=0.1)
    assert energies(loud, pauses=(Pause(-5.0, 1e9),)).integrated_lufs() is None


@pytest.mark.parametrize("block_frames", BLOCKS)
def test_how_the_stream_is_cut_changes_not_one_bit(block_frames: int) -> None:
    samples = np.random.default_rng(1).normal(0, 0.1, (9_001, 3)).astype(np.float32)
    meter = EnergyMeter(11_025, 3)
    heard(meter, samples, block_frames)
    cut, whole = meter.finish(), energies(samples, 11_025)
    assert cut.steps.tobytes() == whole.steps.tobytes()
    assert cut.peaks.tobytes() == whole.peaks.tobytes()


@pytest.mark.parametrize("sample_rate_hz", [8_000, 11_025, 22_050, 48_000])
def test_the_kernel_is_the_filter(sample_rate_hz: int) -> None:
    """Against scipy's second-order sections, step by step."""
    samples = np.random.default_rng(2).normal(0, 0.1, (2 * sample_rate_hz, 1)).astype(np.float32)
    step = step_frames(sample_rate_hz)
    reference = sosfilt(k_weighting(sample_rate_hz), samples[:, 0].astype(np.float64)) ** 2
    whole = reference.size // step
    expected = reference[: whole * step].reshape(whole, step).mean(axis=1)
    found = energies(samples, sample_rate_hz)
    assert found.steps[0] == pytest.approx(expected, rel=1e-9)
    assert np.array_equal(found.peaks[0], np.abs(samples[: whole * step, 0]).reshape(whole, step).max(axis=1))


def test_the_greatest_momentary_and_short_term_loudness() -> None:
    """A second at -10 and three at -20 dBFS in something quiet."""
    found = energies(_tone([(-40, 6), (-10, 1), (-40, 6), (-20, 4), (-40, 6)])).loudness()
    assert found.momentary_max_lufs == pytest.approx(-10.0, abs=0.1)
    assert found.short_term_max_lufs == pytest.approx(-10.0 + 10 * np.log10(1 / 3), abs=0.1)
    assert energies(_tone([(-20, 0.3)])).loudness().momentary_max_lufs is None


def test_after_hours_of_silence_nothing_is_left_that_is_slow() -> None:
    """What the filter remembers decays to nothing, not to numbers that processors handle a hundred times slower."""
    meter = EnergyMeter(8_000, 1)
    meter.push(np.full((80, 1), 0.5, dtype=np.float32))
    meter.push(np.zeros((80_000, 1), dtype=np.float32))
    assert meter.finish().steps[0, -1] == 0.0
