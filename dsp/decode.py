"""From a file to samples, block by block: the container is found by content; what can be salvaged is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from dsp.audio import Limits, Samples, Source
from dsp.containers import Container, container_of
from dsp.decode_choice import opened_reader
from dsp.decode_reader import Reader, StreamFacts
from dsp.decode_signs import Outliers, Signs
from dsp.errors import (
    NoAudio,
    RecordingError,
    TooLong,
    UnsupportedChannels,
    UnsupportedSampleRate,
)
from dsp.input_file import InputFile
from dsp.report import InputInfo, ReportWarning
from dsp.wav_header import wav_header


class Recording:
    """A recording that is being decoded."""

    def __init__(self, source: Source, limits: Limits, file: InputFile, reader: Reader, signs: Signs) -> None:
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
        outliers = Outliers(self.channels)
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
                reader = stack.enter_context(opened_reader(file, container, wav, source.encoding))
                _check(reader.facts, limits)
            except RecordingError:
                if file.failed is not None:
                    raise file.failed from None  # the disk's fault, not the recording's
                raise
            yield Recording(source, limits, file, reader, Signs(source, file, container, wav))


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
