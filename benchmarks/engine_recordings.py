"""The recordings that benchmarks.engine measures with: an example call, over and over, clean and with noise added.

``python -m benchmarks.engine_recordings FILE SECONDS [--noise]``; the same bytes each time. A program of its own, so
that the one that measures stays small (see benchmarks.engine_runs).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE_HZ: Final = 8_000
CALL: Final = Path(__file__).parent.parent / "examples" / "parcel.wav"
"""Nearly clean: the default chain denoises neither channel of it. Speech at -21 and -23 dBFS."""
NOISE_DBFS: Final = -36.0
"""RMS of what is added: an SNR of about 15 and 13 dB."""


def blocks(seconds: float, *, noise: bool) -> Iterator[NDArray[np.float32]]:
    """Give the call again and again until the time is over; shape (frames, 2)."""
    call, _ = soundfile.read(CALL, dtype="float32", always_2d=True)
    random = np.random.default_rng(1)
    rest = round(seconds * RATE_HZ)
    while rest > 0:
        block = call[:rest]
        if noise:
            hiss = random.standard_normal(block.shape, dtype=np.float32)
            # Each sample and half of the one before: duller than white, as lines are.
            hiss[1:] += 0.5 * hiss[:-1]
            block = block + hiss * np.float32(10 ** (NOISE_DBFS / 20) / np.sqrt(1.25))
        yield block
        rest -= len(block)


def write(path: Path, seconds: float, *, noise: bool) -> None:
    """Write a stereo mu-law WAV at 8 kHz."""
    with soundfile.SoundFile(path, "w", RATE_HZ, 2, "ULAW", format="WAV") as file:
        for block in blocks(seconds, noise=noise):
            file.write(block)


def main() -> None:
    """Write one recording."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--noise", action="store_true")
    told = parser.parse_args()
    write(told.path, told.seconds, noise=told.noise)


if __name__ == "__main__":
    main()
