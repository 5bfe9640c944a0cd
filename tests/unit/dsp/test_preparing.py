"""Stages that shape the sound run once for all renditions that share them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from dsp import Pause
from dsp.audio import Samples
from dsp.clock import Clock
from dsp.preparing import Preparation, Prepared
from dsp.scratch import ScratchAudio
from dsp.stages import Denoise, HighPass, LimitTruePeak, NormalizeLoudness, Stage, Trim
from tests.support.recordings import TelephoneCall
from tests.support.streams import context_of, energies

LEVELLED = NormalizeLoudness(), LimitTruePeak()


def _sound(prepared: Prepared) -> Samples:
    return np.concatenate([*prepared.audio.blocks()])


@pytest.fixture
def files() -> Iterator[ExitStack]:
    with ExitStack() as files:
        yield files


def _preparation(
    tmp_path: Path, files: ExitStack, samples: Samples, *, pauses: tuple[Pause, ...] = ()
) -> Preparation:
    audio = files.enter_context(ScratchAudio(tmp_path, 8_000, samples.shape[1]))
    audio.write(samples)
    recording = Prepared(
        audio=audio,
        energies=energies(samples, 8_000, pauses),
        decisions=context_of(samples, pauses=pauses).decisions,
        pauses=pauses,
        muted=pauses,
        noisy=(True,) * samples.shape[1],
    )
    return Preparation(recording, linked=False, folder=tmp_path, files=files, clock=Clock())


def _call(seconds: float = 4.0) -> Samples:
    return TelephoneCall(call_id="c", seed=2, frames=round(seconds * 8_000)).samples()


def test_what_shapes_nothing_needs_no_second_copy(tmp_path: Path, files: ExitStack) -> None:
    """Levels are for later; a denoiser that does nothing says so."""
    preparation = _preparation(tmp_path, files, _call())
    prepared = preparation.prepared((Denoise(method="none"), *LEVELLED), 8_000)
    assert prepared.audio is preparation.recording.audio
    assert prepared.energies is preparation.recording.energies
    assert [outcome.method for outcome in prepared.denoise] == ["none", "none"]


@pytest.mark.parametrize(
    ("stages", "sample_rate_hz", "shared"),
    [
        ((HighPass(),), 8_000, True),
        ((HighPass(), NormalizeLoudness(target_lufs=-20.0)), 8_000, True),
        ((HighPass(), *LEVELLED), 16_000, False),
        ((HighPass(cutoff_hz=150), *LEVELLED), 8_000, False),
    ],
)
def test_the_same_shape_is_made_once(
    tmp_path: Path, files: ExitStack, stages: tuple[Stage, ...], sample_rate_hz: int, shared: bool
) -> None:
    preparation = _preparation(tmp_path, files, _call())
    first = preparation.prepared((HighPass(), *LEVELLED), 8_000)
    assert (preparation.prepared(stages, sample_rate_hz) is first) == shared


def test_energies_are_those_of_the_shaped_sound(tmp_path: Path, files: ExitStack) -> None:
    """At its own rate, and without the pauses."""
    pauses = (Pause(1.0, 2.0),)
    preparation = _preparation(tmp_path, files, _call(), pauses=pauses)
    for sample_rate_hz in (8_000, 16_000):
        prepared = preparation.prepared((HighPass(), *LEVELLED), sample_rate_hz)
        assert prepared.audio.sample_rate_hz == sample_rate_hz
        assert prepared.audio.frames == 4 * sample_rate_hz
        expected = energies(_sound(prepared), sample_rate_hz, pauses)
        assert np.array_equal(prepared.energies.steps, expected.steps)
        assert np.array_equal(prepared.energies.counted, expected.counted)


def test_trimming_moves_pauses_and_decisions(tmp_path: Path, files: ExitStack) -> None:
    samples = np.concatenate([np.zeros((16_000, 2), dtype=np.float32), _call(), np.zeros_like(_call())])
    preparation = _preparation(tmp_path, files, samples, pauses=(Pause(3.0, 4.0),))
    prepared = preparation.prepared((Trim(), *LEVELLED), 8_000)
    kept = _sound(prepared)
    first = next(at for at in range(0, 16_001, 160) if np.array_equal(samples[at : at + len(kept)], kept))
    assert first > 0
    assert prepared.pauses == prepared.muted == (Pause(3.0 - first / 8_000, 4.0 - first / 8_000),)
    for decision in prepared.decisions:
        assert decision.power.size == prepared.audio.frames // 160
    assert [warning.code for warning in prepared.warnings] == ["trimmed"]
