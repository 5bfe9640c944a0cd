"""Sends samples in memory through a whole chain: a file in, files out, and what stands in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

import dsp
from dsp import ChannelInfo, CleanReport, Pause, Source
from dsp.audio import Samples

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, eq=False)
class Cleaned:
    """What came out of a chain."""

    report: CleanReport
    samples: Samples
    """Of the first rendition, shape (frames, channels)."""

    @property
    def warned(self) -> list[tuple[str, int | None]]:
        """Code and channel of each warning."""
        return [(warning.code, warning.channel) for warning in self.report.warnings]


def cleaned(
    samples: Samples,
    stages: Sequence[Any],
    *,
    sample_rate_hz: int = 8_000,
    independent: bool = True,
    pauses: tuple[Pause, ...] = (),
    **rendition: Any,
) -> Cleaned:
    """Clean samples, shape (frames, channels), written as float WAV; out comes WAV of 24 bits where nothing is said."""
    spec = {
        "channels": "independent" if independent else "linked",
        "stages": list(stages),
        "renditions": {"out": {"format": "wav", "encoding": "pcm_24"} | rendition},
    }
    text = json.dumps({"version": 1, "chains": {"laws": spec}})
    chain = dsp.load_chain_file(text, origin="laws").resolve(pauses=pauses)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "in.wav"
        soundfile.write(path, samples, sample_rate_hz, subtype="FLOAT")
        source = Source(path, channels=(ChannelInfo(),) * samples.shape[1], pauses=pauses)
        report = dsp.clean(source, chain, Path(folder))
        out: Samples = soundfile.read(report.renditions[0].path, dtype="float32", always_2d=True)[0]
    return Cleaned(report, out)


def spoken(name: str, seconds: float, start_s: float = 0.0) -> Samples:
    """A stretch of an example call: two parties at 8 kHz, shape (frames, 2)."""
    first, frames = round(start_s * 8_000), round(seconds * 8_000)
    samples: Samples = soundfile.read(
        EXAMPLES / f"{name}.wav", frames, start=first, dtype="float32", always_2d=True
    )[0]
    return samples


def residual_db(expected: Samples, found: Samples) -> float:
    """Energy of the difference against that of what was expected, in dB."""
    difference, sound = (
        np.square(part, dtype=np.float64).sum() for part in (found.astype(np.float64) - expected, expected)
    )
    return float(10 * np.log10(max(difference, 1e-30) / sound))
