"""FFmpeg's ``afftdn``, without its delay and with the end that it keeps to itself.

It takes noise from spectra of 50 ms, and by its own options it believes in white noise at -50 dBFS, whatever comes in:
a call ten decibels quieter or louder is denoised to another depth. Here it is told the level that was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

from dsp.audio import Samples
from dsp.frame_queue import FrameQueue

_BLOCK_FRAMES: Final = 4_096
# What FFmpeg's option takes.
_LOWEST_NOISE_DBFS: Final = -80.0
_HIGHEST_NOISE_DBFS: Final = -20.0
# Far over full scale, and far below where the powers of its spectra overflow and stay so.
_MOST: Final = 1e6


class Afftdn:
    """Denoises channels, each by a filter of its own."""

    def __init__(self, sample_rate_hz: int, noise_dbfs: Sequence[float]) -> None:
        """Make a filter for each channel.

        Parameters
        ----------
        sample_rate_hz
            Of what goes through.
        noise_dbfs
            Level of each channel's noise; the filter knows none below -80 and none above -20 dBFS.
        """
        self._channels: Final = [_Channel(sample_rate_hz, level_dbfs) for level_dbfs in noise_dbfs]
        self._waiting = FrameQueue(len(noise_dbfs))
        # Two steps of its transform, of 12.5 ms each. The tests hold it to that at every rate.
        self._delay: Final = 2 * (sample_rate_hz // 80)
        self._early = self._delay
        self._taken = 0
        self._given = 0

    def push(self, block: Samples) -> Samples:
        """Take the next frames; give those that are denoised."""
        self._taken += len(block)
        self._waiting.push(block)
        whole = len(self._waiting) // _BLOCK_FRAMES * _BLOCK_FRAMES
        return self._through(self._waiting.take(whole))

    def finish(self) -> Samples:
        """Give the rest: what the filter still holds comes out behind silence."""
        missing = self._taken - self._given
        self._waiting.push(np.zeros((self._delay, len(self._channels)), dtype=np.float32))
        rest = self._through(self._waiting.take(len(self._waiting)))
        last = [channel.finish() for channel in self._channels]
        return np.concatenate([rest, self._on_time(last)])[:missing]

    def _through(self, block: Samples) -> Samples:
        done = [channel.push(block[:, index]) for index, channel in enumerate(self._channels)]
        on_time = self._on_time(done)
        self._given += len(on_time)
        return on_time

    def _on_time(self, done: list[Samples]) -> Samples:
        """Leave out what came before the first frame."""
        early = min(self._early, len(done[0]))
        self._early -= early
        return np.stack([channel[early:] for channel in done]).T


class _Channel:
    """A filter graph for one channel: source, denoiser, sink."""

    def __init__(self, sample_rate_hz: int, noise_dbfs: float) -> None:
        # Imported here: 60 MB that only chains with this method need.
        import av  # noqa: PLC0415
        import av.filter  # noqa: PLC0415

        self._av: Any = av
        self._rate_hz = sample_rate_hz
        self._graph = av.filter.Graph()
        floor_dbfs = min(max(noise_dbfs, _LOWEST_NOISE_DBFS), _HIGHEST_NOISE_DBFS)
        source = self._graph.add_abuffer(
            sample_rate=sample_rate_hz, format="fltp", layout="mono", time_base=Fraction(1, sample_rate_hz)
        )
        denoiser = self._graph.add("afftdn", f"noise_floor={floor_dbfs:.3f}")
        sink = self._graph.add("abuffersink")
        source.link_to(denoiser)
        denoiser.link_to(sink)
        self._graph.configure()
        self._pushed = 0

    def push(self, samples: Samples) -> Samples:
        """Take the next samples, shape (frames,); give what the filter has done."""
        if not samples.size:
            return samples
        sane = np.clip(samples, -_MOST, _MOST)[None]
        frame = self._av.AudioFrame.from_ndarray(sane, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base = self._rate_hz, Fraction(1, self._rate_hz)
        frame.pts = self._pushed
        self._pushed += samples.size
        self._graph.push(frame)
        return self._pulled()

    def finish(self) -> Samples:
        """Tell the filter that nothing follows; give what it had left."""
        self._graph.push(None)
        return self._pulled()

    def _pulled(self) -> Samples:
        done = [np.empty(0, dtype=np.float32)]
        while True:
            try:
                done.append(self._graph.pull().to_ndarray()[0])
            except (self._av.BlockingIOError, self._av.EOFError):
                return np.concatenate(done)
