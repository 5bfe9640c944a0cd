"""What a stage is. A new one: a file here, and one line in the registry of ``dsp.stages``."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dsp.audio import Pause, Samples
from dsp.report import DenoiseOutcome, ReportWarning
from dsp.streams import Filter

if TYPE_CHECKING:
    from dsp.loudness import Energies
    from dsp.speech import Decision


class Strict(BaseModel):
    """A part of a chain file: a number is a number, and an unknown key is refused with the nearest right one."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    added: ClassVar[frozenset[str]] = frozenset()
    """Fields that are not written while they have their default: chains from before they existed keep their digest."""

    @model_serializer(mode="wrap")
    def _without_added(self, told: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = told(self)
        for name in self.added:
            if getattr(self, name) == type(self).model_fields[name].default:
                fields.pop(name, None)
        return fields

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, told: Any) -> Any:
        if isinstance(told, dict):
            for key in told:
                if key not in cls.model_fields:
                    raise not_known("key", key, cls.model_fields, at=(key,))
        return told


def not_known(
    what: str, found: object, known: Iterable[str], *, at: tuple[str, ...] | None = None
) -> PydanticCustomError:
    """Say that a name is not known, and which is meant.

    Parameters
    ----------
    at
        Path of the refused thing below the value that was validated.
    """
    names = list(known)
    nearest = difflib.get_close_matches(str(found), names, n=1, cutoff=0.5)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"known: {listed(names)}"
    return PydanticCustomError(
        f"unknown_{what}",
        "`{found}` is not a known {what}; {hint}",
        {"found": str(found), "what": what, "hint": hint, "at": at},
    )


def listed(names: Collection[str]) -> str:
    """Write names as people do: `a`, `b` and `c`."""
    quoted = [f"`{name}`" for name in names]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))


class Stage(Strict, ABC):
    """One step of a chain; its fields are its options, checked and described where they are declared.

    The laws that every stage keeps (tests/contracts/test_stages.py): same shape and rate, float32, finite, no delay,
    the same output every time and however the stream is cut into blocks, silence in = silence out, the input not
    changed.
    """

    name: ClassVar[str]

    @abstractmethod
    def open(self, context: Context) -> Filter:
        """Begin one recording: the filter that its frames go through."""


class Audio(Protocol):
    """A recording that can be read again and again, block by block."""

    @property
    def sample_rate_hz(self) -> int:
        """Frames a second."""

    @property
    def channels(self) -> int:
        """Channels side by side."""

    @property
    def frames(self) -> int:
        """Samples of each channel."""

    def blocks(self) -> Iterator[Samples]:
        """The samples from the first frame on; float32, shape (frames, channels), Fortran order."""

    def read(self, channels: Sequence[int], start: int, frames: int) -> Samples:
        """Some frames of some channels; float32, shape (frames, channels), Fortran order."""


@dataclass
class Context:
    """What a stage may know beside the samples, and where it says what it did."""

    audio: Audio
    """The recording before any stage: the rate, channels and frames of what will go through the filter."""
    decisions: tuple[Decision, ...]
    """Speech against noise in each of its channels."""
    energies: Energies
    """What its loudness is read from."""
    linked: bool = False
    """Whether all channels are levelled by one gain, or each on its own."""
    pauses: tuple[Pause, ...] = ()
    """Stretches that do not count in what a stage measures."""
    denoise: list[DenoiseOutcome] = field(default_factory=list)
    """The denoiser's outcome of each channel; empty until one was opened."""
    warnings: list[ReportWarning] = field(default_factory=list)
    """What people should know of what the stages did."""


def together(channels: int, *, linked: bool) -> list[tuple[int, ...]]:
    """All channels as one group, or each as its own."""
    return [tuple(range(channels))] if linked else [(index,) for index in range(channels)]
