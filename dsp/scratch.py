"""Audio on disk between two passes: a file a channel, so that memory does not grow with the recording."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Final, Self

import numpy as np

from dsp.audio import BLOCK_FRAMES, Samples

_INT16_SCALE: Final = np.float32(1 / 32_768)


class ScratchAudio:
    """Channels that are written once and read as often as needed; see ``dsp.stages.base.Audio``.

    The files have no name, so that nothing is left behind however the process ends.

    Parameters
    ----------
    folder
        Where there is room: 2 or 4 bytes a sample.
    sample_rate_hz
        Frames a second.
    channels
        Channels side by side.
    exact_in_16_bits
        Whether every sample is a multiple of 1/32768 below full scale: half the room is enough.
    """

    def __init__(
        self, folder: Path, sample_rate_hz: int, channels: int, *, exact_in_16_bits: bool = False
    ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.channels = channels
        self.frames = 0
        self._first = 0
        self._dtype = np.dtype(np.int16 if exact_in_16_bits else np.float32)
        self._files = [_unnamed(folder) for _ in range(channels)]

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate_hz

    def write(self, block: Samples) -> None:
        """Add frames, shape (frames, channels). Raises OSError where the disk is full."""
        if self._dtype == np.int16:
            block = np.rint(block * np.float32(32_768)).astype(np.int16, order="F")
        for channel, file in enumerate(self._files):
            _write_all(file, np.ascontiguousarray(block[:, channel]))
        self.frames += len(block)

    def part(self, first: int, end: int) -> ScratchAudio:
        """Give the frames from the first up to the end, in the same files; good while this is open."""
        part = copy(self)
        part._first, part.frames = self._first + first, end - first
        return part

    def blocks(self) -> Iterator[Samples]:
        """The samples from the first frame on; float32, shape (frames, channels), Fortran order."""
        for start in range(0, self.frames, BLOCK_FRAMES):
            yield self.read(range(self.channels), start, min(BLOCK_FRAMES, self.frames - start))

    def read(self, channels: Sequence[int], start: int, frames: int) -> Samples:
        """Give some frames of some channels; float32, shape (frames, channels), Fortran order."""
        read = np.empty((frames, len(channels)), dtype=self._dtype, order="F")
        at = (self._first + start) * self._dtype.itemsize
        for place, channel in enumerate(channels):
            _read_all(self._files[channel], read[:, place], at)
        return read if self._dtype == np.float32 else np.multiply(read, _INT16_SCALE, dtype=np.float32)

    def close(self) -> None:
        """Give the room back."""
        for file in self._files:
            os.close(file)
        self._files = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unnamed(folder: Path) -> int:
    try:
        return os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # a file system, or a system, that has no such thing
        path = folder / f".scratch-{os.getpid()}-{os.urandom(8).hex()}"
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        path.unlink()
        return file


def _write_all(file: int, values: Samples) -> None:
    rest = values.data.cast("B")
    while rest:
        rest = rest[os.write(file, rest) :]


def _read_all(file: int, into: Samples, at: int) -> None:
    rest = into.data.cast("B")
    while rest:
        count = os.preadv(file, [rest], at)
        if count == 0:
            raise OSError("the scratch file is shorter than what was written to it")
        rest, at = rest[count:], at + count
