"""What a stage is. A new one: a file here, and one line in the registry of ``dsp.stages``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from dsp.audio import AudioBuffer, Pause
from dsp.report import DenoiseOutcome, ReportWarning


class Stage(BaseModel, ABC):
    """One step of a chain; its fields are its options, checked and described where they are declared.

    The laws that every stage keeps (tests/contracts/test_stages.py): same shape and rate, float32, finite, no delay,
    the same output every time, silence in = silence out, the input not changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    name: ClassVar[str]

    @abstractmethod
    def process(self, audio: AudioBuffer, context: Context) -> AudioBuffer:
        """Give the processed audio; ``audio`` is not changed."""


@dataclass
class Context:
    """What a stage may know beside the samples, and where it says what it did.

    Attributes:
        channels: whether each channel is levelled on its own, or all by one gain.
        following: the stages after this one.
        pauses: stretches that do not count in what a stage measures.
        denoise: the denoiser's outcome of each channel; empty until one has run.
        warnings: what people should know of what the stages did.
    """

    channels: Literal["independent", "linked"]
    following: tuple[Stage, ...] = ()
    pauses: tuple[Pause, ...] = ()
    denoise: list[DenoiseOutcome] = field(default_factory=list)
    warnings: list[ReportWarning] = field(default_factory=list)

    def warn(self, warning: ReportWarning) -> None:
        """Say something that people should know."""
        self.warnings.append(warning)
