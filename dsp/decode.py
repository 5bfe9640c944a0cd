"""From a file to samples, block by block: the container is found by content; what can be salvaged is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from io import BufferedReader
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dsp import decode_pcm
from dsp.audio import Encoding, Limits, Samples, Source
from dsp.containers import Container, container_of, mp3_start, ogg_stream, other_name
from dsp.decode_reader import Reader, StreamFacts
from dsp.errors import (
    NoAudio,
    RecordingError,
    TooLong,
    Undecodable,
    UnsupportedChannels,
    UnsupportedContainer,
    UnsupportedSampleRate,
)
from dsp.input_file import InputFile, window
from dsp.report import InputInfo, ReportWarning
from dsp.wav_header import WavHeader, wav_header

_LOUDEST: Final = 16.0  # 24 dB over full scale: a float file may go over it, but not without end
_CODEC_BLOCK_FRAMES: Final = 4096  # compressed formats promise a length that may be off by a block
_TAKEN: Final = (
    "WAV, FLAC, MP3, Ogg, WebM, M4A, AMR and the like; or without a header, with its encoding in the event"
)


_MP3_TAG: Final = 0x55
# PCM, MS-ADPCM, float, IMA-ADPCM, GSM 6.10, and 0 where there was no format: its reason is the best to read.
_SNDFILE_TAGS: Final = (0, 1, 2, 3, 0x11, 0x31)
_DEMUXERS: Final = {
    Container.ADTS: "aac",
    Container.AMR: "amr",
    Container.MATROSKA: "matroska",
    Container.MP4: "mov",
}
_WITHOUT_LENGTH: Final = ("aac", "amr", "ogg")


class Recording:
    """A recording that is being decoded."""

    def __init__(
        self, source: Source, limits: Limits, file: InputFile, reader: Reader, signs: _Signs
    ) -> None:
        facts = reader.facts
        self.sample_rate_hz = facts.sample_rate_hz
        """Frames a second."""
        self.channels = facts.channels
        """Channels side by side."""
        self.promised_frames = facts.promised_frames
        """Frames that the header promises, as far as the file can hold them; None where it does not know."""
        self.exact_bits = facts.exact_bits
        """16 where every sample is k / 32768 exactly; else None."""
        self._source, self._limits, self._file, self._reader, self._signs = (
            source,
            limits,
            file,
            reader,
            signs,
        )
        self._told: tuple[InputInfo, tuple[ReportWarning, ...]] | None = None

    def blocks(self) -> Iterator[Samples]:
        """Give the samples, once: float32, shape (frames, channels), Fortran order, finite, within +-16.

        Raises
        ------
        NoAudio
            There was not one sample.
        TooLong
            It goes on for longer than the limits allow, whatever the header said.
        OSError
            The file cannot be read.
        """
        most_frames = _most_frames(self._reader.facts, self._limits)
        frames = 0
        outliers = _Outliers(self.channels)
        for block in self._reader.blocks():
            frames += len(block)
            if frames > most_frames:
                found = f"lasts more than {most_frames / self.sample_rate_hz:.0f} s"
                raise _too_long(self._reader.facts, self._limits, found)
            if self.exact_bits is None:
                outliers.tame(block)
            yield block
        if self._file.failed is not None:
            raise self._file.failed
        if frames == 0:
            raise NoAudio(
                "The recording has a header but no samples: nothing was recorded, or it was cut off."
            )
        self._told = self._info(frames), (*self._signs.warnings(self._reader, frames), *outliers.warnings())

    @property
    def info(self) -> InputInfo:
        """After the last block: the file, and its frames as decoded."""
        return self._ended()[0]

    @property
    def warnings(self) -> tuple[ReportWarning, ...]:
        """After the last block: what is wrong with the file though it could be read."""
        return self._ended()[1]

    def _ended(self) -> tuple[InputInfo, tuple[ReportWarning, ...]]:
        if self._told is None:
            raise RuntimeError("the recording was not read to its end")
        return self._told

    def _info(self, frames: int) -> InputInfo:
        return InputInfo(
            path=str(self._source.path),
            sha256=self._file.sha256(),
            bytes=self._file.size,
            container=self._reader.facts.container,
            codec=self._reader.facts.codec,
            sample_rate_hz=self.sample_rate_hz,
            channels=self.channels,
            frames=frames,
            duration_s=frames / self.sample_rate_hz,
        )


@contextmanager
def opened(source: Source, *, limits: Limits) -> Iterator[Recording]:
    """Open a recording; what its header says is checked against the limits, before memory is taken.

    Raises
    ------
    RecordingError
        Empty, undecodable, unsupported or too long.
    OSError
        The file cannot be read.
    """
    with InputFile(source) as file:
        container = container_of(file, has_encoding=source.encoding is not None)
        wav = wav_header(file) if container in (Container.WAV, Container.RF64) else None
        with ExitStack() as stack:
            try:
                reader = stack.enter_context(_reader(file, container, wav, source.encoding))
                _check(reader.facts, limits)
            except RecordingError:
                if file.failed is not None:
                    raise file.failed from None  # the disk's fault, not the recording's
                raise
            yield Recording(source, limits, file, reader, _Signs(source, file, container, wav))


def probe_duration_s(source: Source, *, limits: Limits) -> float:
    """Give the recording's length as its header has it, in seconds; checked against the limits.

    Where the header does not know, the longest that the limits allow is given.

    Raises
    ------
    RecordingError
        Empty, undecodable, unsupported or too long.
    OSError
        The file cannot be read.
    """
    with opened(source, limits=limits) as recording:
        if recording.promised_frames is None:
            return limits.max_duration_s
        return recording.promised_frames / recording.sample_rate_hz


def _reader(
    file: InputFile, container: Container | None, wav: WavHeader | None, encoding: Encoding | None
) -> AbstractContextManager[Reader]:
    """Choose who decodes a file."""
    if container is None:
        if encoding is None:
            raise _refused(file)
        return _headerless(file, encoding)
    if wav is not None:
        return _wav(file, wav, container)
    demuxer = _demuxer(file, container)
    if demuxer is not None:
        return _by_av(window(file), *demuxer)
    return _by_sndfile(window(file, (mp3_start(file) or 0) if container is Container.MP3 else 0))


def _headerless(file: InputFile, encoding: Encoding) -> AbstractContextManager[Reader]:
    plain = decode_pcm.open_headerless(file, encoding)
    if plain is not None:
        return nullcontext(plain)
    if encoding.format == "g722":
        if encoding.channels != 1:
            raise UnsupportedChannels("G.722 without a header has one channel.")
        return _by_av(window(file), "g722", "raw")
    layout = {"samplerate": encoding.sample_rate_hz, "channels": encoding.channels}
    return _by_sndfile(window(file), raw={"format": "RAW", "subtype": "GSM610", **layout})


def _wav(file: InputFile, wav: WavHeader, container: Container) -> AbstractContextManager[Reader]:
    plain = decode_pcm.open_wav(file, wav, container.value)
    if plain is not None:
        return nullcontext(plain)
    if wav.format.tag == _MP3_TAG:
        start = wav.data_at + (mp3_start(file, wav.data_at) or 0)
        return _by_sndfile(
            window(file, start, wav.data_at + wav.data_bytes - start), container=container.value
        )
    whole = window(file, patches=wav.length_patches())
    return _by_sndfile(whole) if wav.format.tag in _SNDFILE_TAGS else _by_av(whole, "wav", container.value)


def _demuxer(file: InputFile, container: Container) -> tuple[str, str] | None:
    """Name FFmpeg's format and ours, where it is FFmpeg that reads a container."""
    if container is Container.OGG:
        return ("ogg", "ogg") if ogg_stream(file).codec == "speex" else None
    return (_DEMUXERS[container], container.value) if container in _DEMUXERS else None


def _by_sndfile(
    stream: BufferedReader, *, container: str | None = None, raw: dict[str, Any] | None = None
) -> AbstractContextManager[Reader]:
    from dsp.decode_sndfile import opened_by_sndfile  # noqa: PLC0415  (plain samples do without it)

    return opened_by_sndfile(stream, container=container, raw=raw)


def _by_av(stream: BufferedReader, name: str, container: str) -> AbstractContextManager[Reader]:
    from dsp.decode_av import Demuxer, opened_by_av  # noqa: PLC0415  (FFmpeg is large, and seldom needed)

    return opened_by_av(stream, Demuxer(name, container, knows_length=name not in _WITHOUT_LENGTH))


def _refused(file: InputFile) -> Undecodable | UnsupportedContainer:
    other = other_name(file)
    if other is not None:
        return UnsupportedContainer(f"The recording is a {other} file, which is not taken ({_TAKEN}).")
    return Undecodable(f"The file is not audio that Clearcall can read ({_TAKEN}).")


def _check(facts: StreamFacts, limits: Limits) -> None:
    """Refuse by the header alone, before memory is taken."""
    low_hz, high_hz = limits.min_sample_rate_hz, limits.max_sample_rate_hz
    if not low_hz <= facts.sample_rate_hz <= high_hz:
        raise UnsupportedSampleRate(
            f"The recording has {facts.sample_rate_hz} Hz; {low_hz} to {high_hz} Hz are taken."
        )
    if not 1 <= facts.channels <= limits.max_channels:
        raise UnsupportedChannels(
            f"The recording has {facts.channels} channels; 1 to {limits.max_channels} are taken."
        )
    if (facts.promised_frames or 0) > _most_frames(facts, limits):
        raise _too_long(facts, limits, f"lasts {(facts.promised_frames or 0) / facts.sample_rate_hz:.0f} s")


def _most_frames(facts: StreamFacts, limits: Limits) -> int:
    return min(int(limits.max_duration_s * facts.sample_rate_hz), limits.max_samples // facts.channels)


def _too_long(facts: StreamFacts, limits: Limits, found: str) -> TooLong:
    most_s = _most_frames(facts, limits) / facts.sample_rate_hz
    return TooLong(
        f"The recording {found}; of {facts.channels} channels at {facts.sample_rate_hz} Hz, {most_s:.0f} s are taken. "
        "Raise the limit, or cut the recording."
    )


class _Signs:
    """What the file's structure tells of its state, put into words once the decoder is done."""

    def __init__(
        self, source: Source, file: InputFile, container: Container | None, wav: WavHeader | None
    ) -> None:
        self._named_channels = len(source.channels)
        self._encoding_ignored = container is not None and source.encoding is not None
        self._wav = wav
        self._ogg_is_cut = container is Container.OGG and ogg_stream(file).is_cut

    def warnings(self, reader: Reader, frames: int) -> Iterator[ReportWarning]:
        """Say what is wrong with the file though it could be read."""
        if self._encoding_ignored:
            message = (
                "The event gives an encoding as for a file without a header; "
                "the file has one, which was believed."
            )
            yield ReportWarning(code="encoding_ignored", message=message)
        yield from self._length_warning(reader, frames)
        if reader.lost_frames:
            lost_s = reader.lost_frames / reader.facts.sample_rate_hz
            message = f"{lost_s:.1f} s within the recording could not be decoded, and are silent."
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
        elif reader.broke is not None and promised is not None:
            lost_s = max(0, promised - frames) / rate_hz
            message = f"Decoding broke off ({reader.broke}): {lost_s:.1f} s of the recording are missing at its end."
            yield ReportWarning(code="truncated", message=message)
        elif promised is not None and frames < promised - _CODEC_BLOCK_FRAMES:
            message = (
                f"The file holds {frames} of the {promised} frames that its header promises; they were kept."
            )
            yield ReportWarning(code="truncated", message=message)
        elif self._ogg_is_cut:
            message = "The Ogg stream ends without its end mark: the recording is cut off, by how much cannot be told."
            yield ReportWarning(code="truncated", message=message)


class _Outliers:
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
