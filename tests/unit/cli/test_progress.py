"""How far a batch is: by seconds of audio, with the pace so far."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.progress import Pace, bar


class _Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_long_recording_counts_for_more_than_a_short_one() -> None:
    clock = _Clock()
    pace = Pace([3600.0, 600.0, 600.0], clock)
    assert pace.told() == "0/3"
    clock.now_s += 6.0
    pace.ended(0, 3600.0)
    assert (pace.realtime_factor, pace.left_s) == (600.0, 2.0)
    assert pace.told() == "1/3  600 x real time  0:00:02 left"


def test_time_left_passes_between_two_recordings_and_never_below_nothing() -> None:
    clock = _Clock()
    pace = Pace([100.0, 100.0], clock)
    clock.now_s += 10.0
    pace.ended(1, 100.0)
    clock.now_s += 4.0
    assert pace.left_s == pytest.approx(6.0)
    clock.now_s += 60.0
    assert pace.left_s == 0.0


def test_a_recording_that_fails_is_done_and_adds_nothing() -> None:
    clock = _Clock()
    pace = Pace([100.0, 500.0], clock)
    clock.now_s += 1.0
    pace.ended(1, None)
    assert (pace.total_s, pace.done_s, pace.recordings_done) == (100.0, 0.0, 1)
    assert pace.realtime_factor is None


def test_recordings_whose_length_is_not_known_are_taken_to_be_like_the_others() -> None:
    pace = Pace([100.0, None, 300.0], _Clock())
    assert pace.total_s == 600.0
    assert Pace([None, None], _Clock()).total_s == 0.0


@given(
    st.lists(st.one_of(st.none(), st.floats(0.0, 50_000.0)), max_size=20),
    st.randoms(use_true_random=False),
    st.floats(0.0, 1e4),
)
def test_at_the_end_all_is_done_and_nothing_is_left(
    durations_s: list[float | None], random: object, step_s: float
) -> None:
    clock = _Clock()
    pace = Pace(durations_s, clock)
    order = list(range(len(durations_s)))
    random.shuffle(order)  # type: ignore[attr-defined]
    done_before_s = 0.0
    for index in order:
        clock.now_s += step_s
        pace.ended(index, durations_s[index])
        assert done_before_s <= pace.done_s <= pace.total_s * (1 + 1e-9)
        done_before_s = pace.done_s
    assert pace.recordings_done == pace.recordings == len(durations_s)
    assert pace.total_s == pytest.approx(pace.done_s)
    assert pace.left_s in (None, pytest.approx(0.0, abs=1e-3))


@pytest.fixture
def _on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.usefixtures("_on_a_terminal")
def test_the_bar_tells_the_pace_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    pace = Pace([7200.0, 7200.0])
    with bar(pace, shown=True) as moved:
        pace.ended(0, 7200.0)
        moved()
    assert re.search(r"1/2  \d+ x real time  \d+:\d\d:\d\d left", capsys.readouterr().err)


@pytest.mark.usefixtures("_on_a_terminal")
@pytest.mark.parametrize(("durations_s", "shown"), [([20.0, 30.0], True), ([7200.0, 7200.0], False)])
def test_no_bar_is_drawn_where_it_would_come_too_late_or_nobody_looks(
    capsys: pytest.CaptureFixture[str], durations_s: list[float], *, shown: bool
) -> None:
    with bar(Pace(durations_s), shown=shown) as moved:
        moved()
    assert capsys.readouterr().err == ""
