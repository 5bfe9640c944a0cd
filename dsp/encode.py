"""From samples to a file, block by block; it appears whole or not at all."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from dsp.audio import Samples
from dsp.encode_pcm import FlacSink, WavSink
from dsp.formats import ENCODINGS, LOSSY_FORMATS
from dsp.output_file import OutputFile


class Sink(Protocol):
    """What writes one format."""

    @property
    def sample_rate_hz(self) -> int:
        """Frames a second in the file."""

    def write(self, block: Samples) -> Samples:
        """Write the next frames; give them as a reader will see them, as far as that is known."""

    def finish(self) -> None:
        """Write what is held back."""

    def abandon(self) -> None:
        """Free what a library holds; the file takes nothing any more."""


class Encoder:
    """Writes one file.

    ::

        with Encoder(path, format="flac", sample_rate_hz=8000, channels=2) as encoder:
            for block in blocks:
                measured.push(encoder.write(block))
        encoder.sha256

    Parameters
    ----------
    path
        The file. Until all is written it is called ``.<name>.part``; after an error nothing is left.
    format
        ``flac``, ``wav``, ``mp3``, ``m4a`` (AAC) or ``opus`` (in Ogg).
    sample_rate_hz, channels
        Of the samples that will be written.
    encoding
        Of FLAC ``pcm_16`` or ``pcm_24``, of WAV also ``mulaw``; 16 bit where nothing is chosen.
    bit_rate_kbps
        Of MP3, AAC and Opus, all channels together; by rate and channels where nothing is chosen.

    Raises
    ------
    ValueError
        There is no such format, or not with that option.
    UnsupportedChannels
        On entering: the format does not hold as many channels.
    OSError
        On entering, writing or leaving: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        format: str,  # noqa: A002  (the chain file's own word)
        sample_rate_hz: int,
        channels: int,
        encoding: str | None = None,
        bit_rate_kbps: int | None = None,
    ) -> None:
        self.exact = format in ENCODINGS
        """Whether what ``write`` gives is what a reader of the file will see."""
        self.sample_rate_hz = sample_rate_hz
        """Frames a second in the file, once it is open: a lossy format may not have the recording's, and takes the
        next above."""
        self.clipped = 0
        """Samples that went over full scale."""
        self.sha256 = ""
        """After the end: the file's hash in hex."""
        self.bytes = 0
        """After the end: the file's length."""
        self.frames = 0
        """Frames written."""
        if not self.exact and format not in LOSSY_FORMATS:
            raise ValueError(f"format: one of {', '.join((*ENCODINGS, *LOSSY_FORMATS))} wanted, got {format}")
        known = ENCODINGS.get(format, ())
        if encoding is not None and encoding not in known:
            raise ValueError(f"encoding: {format} takes {', '.join(known) or 'none'}, got {encoding}")
        if bit_rate_kbps is not None and self.exact:
            raise ValueError(f"bit_rate_kbps: {format} takes none")
        self._path, self._format, self._channels = path, format, channels
        self._encoding = encoding or next(iter(known), "")
        self._bit_rate_kbps = bit_rate_kbps
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._file = OutputFile(self._path)
            undo.callback(self._file.discard)
            self._sink = self._opened_sink()
            self.sample_rate_hz = self._sink.sample_rate_hz
            self._file.check()
            self._undo = undo.pop_all()
        return self

    def write(self, block: Samples) -> Samples:
        """Write the next frames.

        Parameters
        ----------
        block
            Finite float32, shape (frames, channels), either order; what is over full scale is clipped and counted.

        Returns
        -------
        Samples
            The frames as a reader of the file will see them (float32, Fortran order); of a lossy format only clipped.

        Raises
        ------
        OSError
            The disk is full, or does not take it for another reason.
        """
        if block.size == 0:
            return np.empty(block.shape, dtype=np.float32, order="F")
        self.frames += len(block)
        if block.max() > 1.0 or block.min() < -1.0:
            self.clipped += int(np.count_nonzero(np.abs(block) > 1.0))
        try:
            return self._sink.write(block)
        finally:
            self._file.check()  # before whatever a library made of it

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._undo:
            if error is not None:
                self._file.refuse()
                self._sink.abandon()
                return
            try:
                self._sink.finish()
            finally:
                self._file.check()
            self.sha256, self.bytes = self._file.publish()

    def _opened_sink(self) -> Sink:
        if self._format == "wav":
            return WavSink(self._file, self.sample_rate_hz, self._channels, self._encoding)
        if self._format == "flac":
            return FlacSink(self._file, self.sample_rate_hz, self._channels, self._encoding)
        from dsp.encode_av import LossySink  # noqa: PLC0415  (FFmpeg is large, and seldom needed)

        return LossySink(self._file, self.sample_rate_hz, self._channels, self._format, self._bit_rate_kbps)
