"""EBU Tech 3342, table 1: the loudness range of each signal that is made of tones.

Cases 5 and 6 are real programmes that only the EBU's own files hold: left out.
"""

from __future__ import annotations

import pytest

from tests.conformance.signals import RATES_HZ, Tones, tone
from tests.support.streams import energies

TOLERANCE_LU = 1.0

CASES: dict[int, tuple[Tones, float]] = {
    1: ([(-20, 20), (-30, 20)], 10),
    2: ([(-20, 20), (-15, 20)], 5),
    3: ([(-40, 20), (-20, 20)], 20),
    4: ([(-50, 20), (-35, 20), (-20, 20), (-35, 20), (-50, 20)], 15),
}


@pytest.mark.parametrize("sample_rate_hz", RATES_HZ)
@pytest.mark.parametrize("case", CASES)
def test_loudness_range_of_levels_after_each_other(case: int, sample_rate_hz: int) -> None:
    tones, expected_lu = CASES[case]
    found = energies(tone(tones, sample_rate_hz), sample_rate_hz).loudness()
    assert found.range_lu == pytest.approx(expected_lu, abs=TOLERANCE_LU)


@pytest.mark.parametrize("case", CASES)
def test_a_signal_that_is_played_twice_has_the_same_range(case: int) -> None:
    """As the standard asks; at the rate of telephones."""
    tones, expected_lu = CASES[case]
    assert energies(tone(tones * 2, 8_000)).loudness().range_lu == pytest.approx(
        expected_lu, abs=TOLERANCE_LU
    )
