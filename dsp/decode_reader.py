"""What every decoder is to ``dsp.decode``: facts from the header, and blocks of samples as long as they come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from dsp.audio import Samples

BLOCK_FRAMES: Final = 1 << 14
"""How many frames are decoded at once."""


@dataclass(frozen=True)
class StreamFacts:
    """What the header says of a recording."""

    container: str
    codec: str
    sample_rate_hz: int
    channels: int
    promised_frames: int | None
    """None where it does not know."""
    exact_bits: int | None
    """16 where every sample is k / 32768 exactly; else None."""
    tracks: int = 1
    """Sound tracks in the file, of which one is read."""


class Reader(Protocol):
    """A recording that is being decoded."""

    @property
    def facts(self) -> StreamFacts:
        """What the header says."""

    @property
    def broke(self) -> str | None:
        """After the last block: why decoding broke off; None where it came to the end."""

    @property
    def lost_frames(self) -> int:
        """After the last block: frames that could not be decoded, of which silence took the place."""

    @property
    def gap_frames(self) -> int:
        """After the last block: frames that the file does not have by its own times; silence took their place."""

    def blocks(self) -> Iterator[Samples]:
        """Give the samples once; float32, shape (frames, channels), Fortran order, about a block each."""
