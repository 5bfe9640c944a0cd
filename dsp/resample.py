"""Another sample rate, by libsoxr."""

from __future__ import annotations

import numpy as np

from dsp.audio import Samples
from dsp.stages.base import Audio


class Resampler:
    """Brings a stream to another sample rate: no delay, and the length that belongs to it.

    Not quite a ``dsp.streams.Filter``: the number of frames changes, by the ratio of the rates, rounded.

    Parameters
    ----------
    audio
        What will go through.
    sample_rate_hz
        Frames a second of what comes out.
    """

    def __init__(self, audio: Audio, sample_rate_hz: int) -> None:
        import soxr  # noqa: PLC0415  (only for chains that ask for another rate)

        self._wanted = round(audio.frames * sample_rate_hz / audio.sample_rate_hz)
        self._given = 0
        self._channels = audio.channels
        self._stream = soxr.ResampleStream(
            audio.sample_rate_hz, sample_rate_hz, audio.channels, dtype="float32", quality="HQ"
        )

    def push(self, block: Samples) -> Samples:
        """See ``dsp.streams.Filter``."""
        return self._cut(self._stream.resample_chunk(np.ascontiguousarray(block)))

    def finish(self) -> Samples:
        """See ``dsp.streams.Filter``."""
        rest = self._cut(
            self._stream.resample_chunk(np.zeros((0, self._channels), dtype=np.float32), last=True)
        )
        missing = np.zeros((self._wanted - self._given, self._channels), dtype=np.float32)
        self._given = self._wanted
        return np.asfortranarray(np.concatenate((rest, missing)))

    def _cut(self, resampled: Samples) -> Samples:
        done = np.asfortranarray(resampled[: self._wanted - self._given])
        self._given += len(done)
        return done
