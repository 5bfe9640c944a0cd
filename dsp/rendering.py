"""From prepared sound to the files of a rendition: level, limit, lay out, encode, and measure what came out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsp.audio import Limits, Samples, Source, paused
from dsp.chain import ResolvedRendition
from dsp.clock import Clock
from dsp.decode import opened
from dsp.encode import Encoder
from dsp.levelling import levelled
from dsp.loudness import EnergyMeter
from dsp.measurement import Measured, Meter
from dsp.preparing import Prepared
from dsp.report import CleanedChannel, CleanedMeasurement, DenoiseOutcome, RenditionReport, ReportWarning
from dsp.scratch import ScratchAudio
from dsp.stages import LimitTruePeak, NormalizeLoudness
from dsp.streams import filtered


@dataclass(frozen=True)
class Rendering:
    """Makes the files of renditions."""

    source: Source
    linked: bool
    """Whether all channels are levelled by one gain, or each on its own."""
    folder: Path
    """Where outputs and scratch files go."""
    clock: Clock

    def rendered(
        self, rendition: ResolvedRendition, sound: Prepared
    ) -> tuple[list[RenditionReport], list[ReportWarning]]:
        """Write a rendition's files; give a report of each, and what people should know.

        Raises
        ------
        OSError
            A file cannot be written; none of the rendition's is left behind.
        """
        warnings: list[ReportWarning] = []
        with ExitStack() as files:
            levelled_blocks = self._levelled(rendition, sound, self.linked, warnings)
            if rendition.layout == "mono" and sound.audio.channels > 1:
                # Each party was levelled for itself; the mix of them then has a loudness and peaks of its own.
                sound = self._mixed(sound, levelled_blocks, files)
                levelled_blocks = self._levelled(rendition, sound, True, warnings)
            outputs = self._outputs(rendition, sound)
            encoders = [files.enter_context(self._encoder(rendition, output)) for output in outputs]
            ...
        return [], warnings
