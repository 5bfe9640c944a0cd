"""FLAC: libsndfile is quick and stops at the first damage; FFmpeg finds the next whole frame and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from dsp.audio import Samples
from dsp.decode_sndfile import SndfileReader, opened_by_sndfile
from dsp.errors import RecordingError, Undecodable
from dsp.input_file import InputFile, window


class FlacReader:
    """A FLAC file of which all is read that is whole."""

    def __init__(self, file: InputFile, beginning: SndfileReader) -> None:
        self.facts = beginning.facts
        self.broke: str | None = None
        self.lost_frames = self.gap_frames = 0
        self._file, self._beginning = file, beginning
        self._blocks = beginning.blocks()
        self._first = next(self._blocks, None)
        if self._first is None and beginning.broke is not None:
            raise Undecodable(f"The file is not audio that Clearcall can read: {beginning.broke}.")

    def blocks(self) -> Iterator[Samples]:
        """Give the samples once; silence takes the place of what is damaged."""
        frames = 0
        for block in chain(() if self._first is None else (self._first,), self._blocks):
            yield block
            frames += len(block)
        self.broke = self._beginning.broke
        if self.broke is not None:
            yield from self._rest(frames)

    def _rest(self, frames: int) -> Iterator[Samples]:
        from dsp.decode_av import Demuxer, opened_by_av  # noqa: PLC0415  (FFmpeg is large, and seldom needed)

        try:
            with opened_by_av(window(self._file), Demuxer("flac", "flac")) as reader:
                if (reader.facts.sample_rate_hz, reader.facts.channels) != (
                    self.facts.sample_rate_hz,
                    self.facts.channels,
                ):
                    return
                for block in reader.blocks():
                    if len(block) > frames:
                        yield block[frames:]
                    frames = max(0, frames - len(block))
                self.broke = reader.broke
                self.lost_frames = reader.lost_frames + reader.gap_frames
        except RecordingError:
            return  # what libsndfile read is all there is


@contextmanager
def opened_flac(file: InputFile) -> Iterator[FlacReader]:
    """Open a FLAC file. Raises Undecodable."""
    with opened_by_sndfile(window(file)) as beginning:
        yield FlacReader(file, beginning)
