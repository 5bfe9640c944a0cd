"""EBU Tech 3341, table 1: the meter on each signal that is made of tones, at telephone rates and at 48 kHz.

Cases 7 and 8 are real programmes that only the EBU's own files hold: left out. In case 6, which has five channels,
surround channels weigh 1.41; a telephone recording has none, and every channel here weighs 1.0, so the case is run
with the surround channels 1.5 dB (1.41 in power) higher instead.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dsp.loudness import EnergyMeter
from tests.conformance.signals import RATES_HZ, SILENCE_DBFS, Tones, tone
from tests.support.streams import energies

TOLERANCE_LU = 0.1

every_rate = pytest.mark.parametrize("sample_rate_hz", RATES_HZ)


@every_rate
@pytest.mark.parametrize(("case", "level"), [(1, -23.0), (2, -33.0)])
def test_cases_1_and_2_a_steady_tone(case: int, level: float, sample_rate_hz: int) -> None:
    """Momentary, short-term and integrated loudness are all the tone's level."""
    found = energies(tone([(level, 20)], sample_rate_hz), sample_rate_hz).loudness()
    assert found.momentary_max_lufs == pytest.approx(level, abs=TOLERANCE_LU)
    assert found.short_term_max_lufs == pytest.approx(level, abs=TOLERANCE_LU)
    assert found.integrated_lufs == pytest.approx(level, abs=TOLERANCE_LU)


GATED: dict[int, Tones] = {
    3: [(-36, 10), (-23, 60), (-36, 10)],
    4: [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
    5: [(-26, 20), (-20, 20.1), (-26, 20)],
}


@every_rate
@pytest.mark.parametrize("case", GATED)
def test_cases_3_to_5_the_gates(case: int, sample_rate_hz: int) -> None:
    """What lies 10 LU below the rest, or below -70 LUFS, does not count."""
    found = energies(tone(GATED[case], sample_rate_hz), sample_rate_hz)
    assert found.integrated_lufs() == pytest.approx(-23.0, abs=TOLERANCE_LU)


@every_rate
def test_case_6_five_channels(sample_rate_hz: int) -> None:
    """Powers of channels add up."""
    surround_db = 10 * np.log10(1.41)
    levels = np.array([-28.0, -28.0, -24.0, -30.0 + surround_db, -30.0 + surround_db])
    samples = tone([(0.0, 20)], sample_rate_hz, channels=5) * (10 ** (levels / 20)).astype(np.float32)
    found = energies(samples, sample_rate_hz)
    assert found.integrated_lufs() == pytest.approx(-23.0, abs=TOLERANCE_LU)


@every_rate
def test_case_9_short_term_loudness_is_constant(sample_rate_hz: int) -> None:
    """Tones that repeat every 3 s: whatever 3 s are taken, they are the same. One period at a time is looked at."""
    samples = tone([(-20, 1.34), (-30, 1.66)] * 5, sample_rate_hz)
    cuts = range(0, 12 * sample_rate_hz, sample_rate_hz // 2)
    found = [
        energies(samples[cut : cut + 3 * sample_rate_hz], sample_rate_hz).loudness().short_term_max_lufs
        for cut in cuts
    ]
    assert found == pytest.approx([-23.0] * len(found), abs=TOLERANCE_LU)


@every_rate
def test_case_12_momentary_loudness_is_constant(sample_rate_hz: int) -> None:
    """Tones that repeat every 400 ms."""
    samples = tone([(-20, 0.18), (-30, 0.22)] * 25, sample_rate_hz)
    found = energies(samples[sample_rate_hz:], sample_rate_hz)
    steps = found.steps.sum(axis=0)
    blocks = -0.691 + 10 * np.log10(np.convolve(steps, np.full(4, 0.25), mode="valid"))
    assert blocks == pytest.approx(np.full(blocks.size, -23.0), abs=TOLERANCE_LU)
    assert found.loudness().momentary_max_lufs == pytest.approx(-23.0, abs=TOLERANCE_LU)


@every_rate
def test_case_10_the_greatest_short_term_loudness_wherever_it_lies(sample_rate_hz: int) -> None:
    """Of 3 s, after 20 different silences."""
    for place in range(20):
        samples = tone([(SILENCE_DBFS, 0.15 * place), (-23, 3), (SILENCE_DBFS, 1)], sample_rate_hz)
        found = energies(samples, sample_rate_hz).loudness()
        assert found.short_term_max_lufs == pytest.approx(-23.0, abs=TOLERANCE_LU), place


@every_rate
def test_case_13_the_greatest_momentary_loudness_wherever_it_lies(sample_rate_hz: int) -> None:
    """Of 400 ms, after 20 different silences."""
    for place in range(20):
        samples = tone([(SILENCE_DBFS, 0.02 * place), (-23, 0.4), (SILENCE_DBFS, 1)], sample_rate_hz)
        found = energies(samples, sample_rate_hz).loudness()
        assert found.momentary_max_lufs == pytest.approx(-23.0, abs=TOLERANCE_LU), place


def _successive(
    seconds: float, step_s: float, sample_rate_hz: int
) -> list[tuple[float | None, float | None]]:
    """The greatest momentary and short-term loudness so far, after each of 20 tones that get louder."""
    tones = [
        [(SILENCE_DBFS, step_s * place), (-38.0 + place, seconds), (SILENCE_DBFS, seconds - step_s * place)]
        for place in range(20)
    ]
    samples = tone([part for parts in tones for part in parts], sample_rate_hz)
    ends = np.cumsum([0] + [round(sum(s for _, s in parts) * sample_rate_hz) for parts in tones])
    meter = EnergyMeter(sample_rate_hz, 2, loudest=True)
    found = []
    for begin, end in pairwise(ends.tolist()):
        meter.push(samples[begin:end])
        so_far = meter.finish().loudness()
        found.append((so_far.momentary_max_lufs, so_far.short_term_max_lufs))
    return found


@every_rate
def test_case_11_successive_short_term_maxima(sample_rate_hz: int) -> None:
    """20 tones of 3 s, each 1 dB louder than the last."""
    found = [short_term for _, short_term in _successive(3.0, 0.15, sample_rate_hz)]
    assert found == pytest.approx([*range(-38, -18)], abs=TOLERANCE_LU)


@every_rate
def test_case_14_successive_momentary_maxima(sample_rate_hz: int) -> None:
    """20 tones of 400 ms, each 1 dB louder than the last."""
    found = [momentary for momentary, _ in _successive(0.4, 0.02, sample_rate_hz)]
    assert found == pytest.approx([*range(-38, -18)], abs=TOLERANCE_LU)
