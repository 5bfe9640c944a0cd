"""What is wrong with a recording though it could be read, in words for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples, Source
from dsp.containers import Container
from dsp.decode_reader import Reader
from dsp.input_file import InputFile
from dsp.ogg_pages import ogg_is_cut, ogg_lost_ticks
from dsp.report import ReportWarning
from dsp.wav_header import WavHeader

_LOUDEST: Final = 16.0  # 24 dB over full scale: a float file may go over it, but not without end
_OPUS_TICKS_PER_S: Final = 48_000
_CODEC_BLOCK_FRAMES: Final = 4096  # compressed formats promise a length that may be off by a block


class Signs:
    """What the file's structure tells of its state, put into words once the decoder is done."""

    def __init__(
        self, source: Source, file: InputFile, container: Container | None, wav: WavHeader | None
    ) -> None:
        self._named_channels = len(source.channels)
        self._encoding_ignored = container is not None and source.encoding is not None
        self._wav = wav
        self._file = file
        self._is_ogg = container is Container.OGG

    def warnings(self, reader: Reader, frames: int) -> Iterator[ReportWarning]:
        """Say what is wrong with the file though it could be read."""
        if self._encoding_ignored:
            message = (
                "The event gives an encoding as for a file without a header; "
                "the file has one, which was believed."
            )
            yield ReportWarning(code="encoding_ignored", message=message)
        yield from self._length_warning(reader, frames)
        lost_s = reader.lost_frames / reader.facts.sample_rate_hz
        if self._is_ogg and reader.facts.codec == "opus":
            # Libsndfile fills what is missing without a word.
            lost_s = ogg_lost_ticks(self._file) / _OPUS_TICKS_PER_S
        if lost_s:
            message = (
                f"{lost_s:.1f} s within the recording could not be decoded; silence or a guess stands there."
            )
            yield ReportWarning(code="damaged", message=message)
        if reader.gap_frames:
            gap_s = reader.gap_frames / reader.facts.sample_rate_hz
            message = (
                f"By its own times the file has no sound for {gap_s:.1f} s in all; silence stands there."
            )
            yield ReportWarning(code="gaps", message=message)
        if reader.facts.tracks > 1:
            message = (
                f"The file has {reader.facts.tracks} sound tracks; the first that can be decoded was read."
            )
            yield ReportWarning(code="tracks_ignored", message=message)
        if self._named_channels and self._named_channels != reader.facts.channels:
            message = (
                f"The event names {self._named_channels} channels; the file has {reader.facts.channels}."
            )
            yield ReportWarning(code="channels_mismatch", message=message)

    def _length_warning(self, reader: Reader, frames: int) -> Iterator[ReportWarning]:
        wav, rate_hz, promised = self._wav, reader.facts.sample_rate_hz, reader.facts.promised_frames
        if wav is not None and wav.length_unknown:
            message = (
                f"The header does not say how long the recording is; all {frames} frames behind it were read."
            )
            yield ReportWarning(code="length_unknown", message=message)
        elif wav is not None and wav.missing_bytes:
            lost = f"{wav.missing_bytes} bytes"
            if wav.missing_s is not None:
                lost += f", {wav.missing_s:.1f} s,"
            kept = f"the {frames / rate_hz:.1f} s that are there were kept."
            message = f"The file ends {lost} before its header says; {kept}"
            yield ReportWarning(code="truncated", message=message)
        elif reader.broke is not None:
            if promised is None:
                missing = "how much of the recording is missing at its end cannot be told."
            else:
                missing = (
                    f"{max(0, promised - frames) / rate_hz:.1f} s of the recording are missing at its end."
                )
            yield ReportWarning(code="truncated", message=f"Decoding broke off ({reader.broke}): {missing}")
        elif promised is not None and frames < promised - _CODEC_BLOCK_FRAMES:
            message = (
                f"The file holds {frames} of the {promised} frames that its header promises; they were kept."
            )
            yield ReportWarning(code="truncated", message=message)
        elif self._is_ogg and ogg_is_cut(self._file):
            message = "The Ogg stream ends without its end mark: the recording is cut off, by how much cannot be told."
            yield ReportWarning(code="truncated", message=message)


class Outliers:
    """Samples that are no number, or far too great: put right, and counted."""

    def __init__(self, channels: int) -> None:
        self._not_finite: NDArray[np.int64] = np.zeros(channels, dtype=np.int64)
        self._too_great: NDArray[np.bool_] = np.zeros(channels, dtype=np.bool_)

    def tame(self, block: Samples) -> None:
        """Put zeros for what is no number and cut what is too great, in place."""
        # NaN fails every comparison, so one pass finds out that all is well.
        if bool((np.abs(block) <= _LOUDEST).all()):
            return
        bad = ~np.isfinite(block)
        self._not_finite += bad.sum(axis=0)
        block[bad] = 0.0
        self._too_great |= np.abs(block).max(axis=0) > _LOUDEST
        np.clip(block, -_LOUDEST, _LOUDEST, out=block)

    def warnings(self) -> Iterator[ReportWarning]:
        """Say in which channels there were some."""
        for channel in np.flatnonzero(self._not_finite):
            message = f"{int(self._not_finite[channel])} samples were NaN or infinite, and were set to zero."
            yield ReportWarning(code="not_finite", channel=int(channel), message=message)
        for channel in np.flatnonzero(self._too_great):
            message = "Samples went more than 24 dB over full scale, and were cut there."
            yield ReportWarning(code="out_of_range", channel=int(channel), message=message)
