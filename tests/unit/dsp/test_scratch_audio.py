"""Audio on disk between two passes: what was written is read, from any place, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsp import scratch
from dsp.audio import Samples
from dsp.scratch import ScratchAudio


def _noise(frames: int, channels: int = 2, *, exact: bool = False) -> Samples:
    samples = np.random.default_rng(frames).uniform(-1.0, 1.0, (frames, channels))
    if exact:
        samples = np.floor(samples * 32_768) / 32_768
    return np.asfortranarray(samples, dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.mark.parametrize("exact", [False, True])
@given(
    cuts=st.lists(st.integers(0, 5_000), max_size=6),
    start=st.integers(0, 4_999),
    frames=st.integers(0, 3_000),
)
def test_what_was_written_is_read_bit_for_bit(
    folder: Path, exact: bool, cuts: list[int], start: int, frames: int
) -> None:
    """However it was cut, and of any channels in any order."""
    samples = _noise(5_000, 3, exact=exact)
    with ScratchAudio(folder, 8_000, 3, exact_in_16_bits=exact) as audio:
        for block in np.split(samples, sorted(cuts)):
            audio.write(block)
        assert (audio.frames, audio.channels, audio.sample_rate_hz) == (5_000, 3, 8_000)
        frames = min(frames, 5_000 - start)
        read = audio.read([2, 0], start, frames)
        assert read.dtype == np.float32
        assert read.flags.f_contiguous
        assert np.array_equal(read, samples[start : start + frames, [2, 0]])
        assert np.array_equal(np.concatenate([*audio.blocks()]), samples)


@pytest.mark.parametrize("block_frames", [1, 160, 4_999, 5_000])
def test_blocks_are_as_long_as_they_are_wanted(
    folder: Path, block_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "BLOCK_FRAMES", block_frames)
    samples = _noise(5_000)
    with ScratchAudio(folder, 8_000, 2) as audio:
        audio.write(samples)
        blocks = [*audio.blocks()]
    assert {len(block) for block in blocks[:-1]} <= {block_frames}
    assert np.array_equal(np.concatenate(blocks), samples)


def test_a_part_is_read_by_its_own_time(folder: Path) -> None:
    """Also a part of a part; the whole stays what it is."""
    samples = _noise(1_000)
    with ScratchAudio(folder, 8_000, 2) as audio:
        audio.write(samples)
        inner = audio.part(100, 900).part(50, 150)
        assert inner.frames == 100
        assert np.array_equal(np.concatenate([*inner.blocks()]), samples[150:250])
        assert np.array_equal(inner.read([1], 10, 5), samples[160:165, [1]])
        assert audio.frames == 1_000


def test_nothing_has_a_name_and_the_room_is_given_back(tmp_path: Path) -> None:
    """So that nothing is left behind, however the process ends."""
    before = len([*Path("/proc/self/fd").iterdir()])
    with ScratchAudio(tmp_path, 8_000, 2) as audio:
        audio.write(_noise(1_000))
        assert list(tmp_path.iterdir()) == []
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_file_system_without_nameless_files_does_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    samples = _noise(1_000)
    with ScratchAudio(tmp_path, 8_000, 2) as audio:
        audio.write(samples)
        assert list(tmp_path.iterdir()) == []
        assert np.array_equal(audio.read([0, 1], 0, 1_000), samples)


def test_what_is_not_there_is_not_read(folder: Path) -> None:
    """A file that another hand has cut is an OSError, not silence."""
    with ScratchAudio(folder, 8_000, 1) as audio:
        audio.write(_noise(100, 1))
        with pytest.raises(OSError, match="shorter than what was written"):
            audio.read([0], 50, 51)
