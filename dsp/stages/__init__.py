"""The stages that a chain is made of, by the name that a chain file gives them."""

from __future__ import annotations

from types import MappingProxyType

from dsp.stages.base import Context, Stage
from dsp.stages.denoise import Denoise
from dsp.stages.limit import LimitTruePeak
from dsp.stages.normalize import NormalizeLoudness

REGISTRY: MappingProxyType[str, type[Stage]] = MappingProxyType(
    {stage.name: stage for stage in (Denoise, NormalizeLoudness, LimitTruePeak)}
)

__all__ = ["REGISTRY", "Context", "Denoise", "LimitTruePeak", "NormalizeLoudness", "Stage"]
