"""What the DSP refuses, as one tree.

::

    DspError
    ├── ChainError                  the chain, not the recording
    │   ├── ChainFileError          chain_file_invalid       the chain file breaks a rule; says where
    │   ├── UnknownChain            unknown_chain            no chain of that name
    │   └── UnknownRendition        unknown_rendition        no rendition of that name
    └── RecordingError              the recording cannot be cleaned, now or later
        ├── EmptyFile               empty_file               zero bytes
        ├── NoAudio                 no_audio                 a header, and not one sample behind it
        ├── Undecodable             undecodable              not audio, or damaged beyond what can be salvaged
        ├── UnsupportedContainer    unsupported_container    audio, in a container that is not taken
        ├── UnsupportedCodec        unsupported_codec        a known container with sound of a codec that is not taken
        ├── UnsupportedSampleRate   unsupported_sample_rate  outside 8 to 48 kHz
        ├── UnsupportedChannels     unsupported_channels     more channels than a call has
        ├── TooLong                 too_long                 over the duration or sample limit
        └── TooLargeForScratch      too_large_for_scratch    needs more room than the disk has when empty

A full disk or a missing file stays the ``OSError`` that it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class DspError(Exception):
    """Something that the DSP refuses; the message is for the person who reads it, the code for programs."""

    code: ClassVar[str] = "dsp_error"
    """Stable name of what went wrong."""
    retriable: ClassVar[bool] = False
    """Whether the same request may succeed later."""


class ChainError(DspError):
    """The chain, not the recording, is at fault."""

    code = "chain_error"


@dataclass(frozen=True)
class Problem:
    """One broken rule of a chain file."""

    line: int
    """Line in the file, from 1."""
    message: str
    """What is wrong there, and what would be right."""


class ChainFileError(ChainError):
    """A chain file breaks its rules."""

    code = "chain_file_invalid"

    def __init__(self, origin: str, problems: tuple[Problem, ...]) -> None:
        super().__init__(
            "\n".join(f"{origin}, line {problem.line}: {problem.message}" for problem in problems)
        )
        self.problems = problems


class UnknownChain(ChainError):
    """A chain is named that the chain file does not have."""

    code = "unknown_chain"


class UnknownRendition(ChainError):
    """A rendition is named that the chain does not have."""

    code = "unknown_rendition"


class RecordingError(DspError):
    """The recording cannot be cleaned."""

    code = "recording_error"


class EmptyFile(RecordingError):
    """The file has no bytes."""

    code = "empty_file"


class NoAudio(RecordingError):
    """The file is a header without samples."""

    code = "no_audio"


class Undecodable(RecordingError):
    """The bytes cannot be read as audio."""

    code = "undecodable"


class UnsupportedContainer(RecordingError):
    """Audio in a container that is not taken."""

    code = "unsupported_container"


class UnsupportedCodec(RecordingError):
    """A container that is taken, with sound of a codec that is not."""

    code = "unsupported_codec"


class UnsupportedSampleRate(RecordingError):
    """A sample rate outside of what is taken."""

    code = "unsupported_sample_rate"


class UnsupportedChannels(RecordingError):
    """More channels than are taken."""

    code = "unsupported_channels"


class TooLong(RecordingError):
    """More audio than the limits allow."""

    code = "too_long"


class TooLargeForScratch(RecordingError):
    """Cleaning needs more room than the disk has when it is empty."""

    code = "too_large_for_scratch"
