"""Calls that lie in the repository, and how loud a sound is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from dsp.audio import Samples

_EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> Samples:
    """One of the example calls: two parties at 8 kHz, shape (frames, 2)."""
    samples: Samples = soundfile.read(_EXAMPLES / f"{name}.wav", dtype="float32", always_2d=True)[0]
    return samples


def rms_db(samples: Samples) -> float:
    """Level in dB below full scale."""
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30))
