"""Trim: what is before the first speech and after the last goes, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp.audio import AudioBuffer
from dsp.speech import Decision
from dsp.stages import Context
from dsp.stages.trim import Trim
from tests.support.streams import context_of, run

RATE_HZ = 8_000


def _context(spoken_s: list[list[tuple[float, float]]], seconds: float) -> Context:
    """Channels that speak in some stretches of a recording."""
    frames = round(seconds * RATE_HZ)
    decisions = []
    for stretches_s in spoken_s:
        speech = np.zeros(frames // 160, dtype=np.bool_)
        for start_s, end_s in stretches_s:
            speech[round(start_s * 50) : round(end_s * 50)] = True
        power = np.ones(speech.size, dtype=np.float32)
        decisions.append(Decision(power, speech, ~speech, 160))
    audio = AudioBuffer(np.zeros((frames, len(spoken_s)), dtype=np.float32), RATE_HZ)
    return replace(context_of(audio.samples), decisions=tuple(decisions))


def _kept_s(stage: Trim, context: Context) -> tuple[float, float]:
    first, end = stage.kept(context)
    return first / RATE_HZ, end / RATE_HZ


def test_what_nobody_says_before_and_after_goes() -> None:
    """Of all channels together: the one who waits is there from the first word of the other on."""
    context = _context([[(3.0, 4.0), (6.0, 7.0)], [(4.5, 9.0)]], 20.0)
    assert _kept_s(Trim(), context) == (2.5, 9.5)
    (warning,) = context.warnings
    assert (warning.code, warning.channel) == ("trimmed", None)
    assert "first 2.50 s and the last 10.50 s" in warning.message


@pytest.mark.parametrize(
    ("keep_s", "expected_s"), [(0.0, (3.0, 9.0)), (1.0, (2.0, 10.0)), (60.0, (0.0, 20.0))]
)
def test_some_stays_around_the_speech(keep_s: float, expected_s: tuple[float, float]) -> None:
    assert _kept_s(Trim(keep_s=keep_s), _context([[(3.0, 9.0)]], 20.0)) == expected_s


@pytest.mark.parametrize("spoken_s", [[[], []], [[(0.2, 19.8)]], []])
def test_where_nobody_speaks_or_nobody_is_silent_all_stays(spoken_s: list[list[tuple[float, float]]]) -> None:
    context = _context(spoken_s, 20.0)
    assert _kept_s(Trim(), context) == (0.0, 20.0)
    assert context.warnings == []


@given(
    start=st.integers(0, 400),
    length=st.integers(1, 100),
    rest=st.integers(0, 159),
    keep_s=st.floats(0.0, 10.0),
)
def test_no_speech_is_ever_left_out(start: int, length: int, rest: int, keep_s: float) -> None:
    """What is kept lies inside the recording, begins with a frame of the decisions, and has what was asked for."""
    context = _context([[(start / 50, (start + length) / 50)]], 11.0 + rest / RATE_HZ)
    first, end = Trim(keep_s=keep_s).kept(context)
    assert 0 <= first < end <= context.audio.frames
    last = min(start + length, 550)
    assert first <= min(start, 549) * 160
    assert end >= last * 160
    keep = round(keep_s * RATE_HZ)
    wanted = max(0, start * 160 - keep)
    assert first == wanted - wanted % 160
    assert end == min(context.audio.frames, last * 160 + keep)


def test_its_filter_lets_all_pass() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.1, (3_000, 2)).astype(np.float32)
    for block_frames in (1, 7, 160, 4_096):
        assert np.array_equal(run(Trim(), noise, block_frames=block_frames), noise)
