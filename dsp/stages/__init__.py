"""The stages that a chain is made of, by the name that a chain file gives them."""

from __future__ import annotations

from types import MappingProxyType

from dsp.stages.base import Context, Stage
from dsp.stages.compress import Compress
from dsp.stages.dehum import DeHum
from dsp.stages.denoise import Denoise
from dsp.stages.highpass import HighPass
from dsp.stages.limit import LimitTruePeak
from dsp.stages.normalize import NormalizeLoudness
from dsp.stages.trim import Trim

REGISTRY: MappingProxyType[str, type[Stage]] = MappingProxyType(
    {
        stage.name: stage
        for stage in (Trim, HighPass, DeHum, Denoise, Compress, NormalizeLoudness, LimitTruePeak)
    }
)

__all__ = [
    "REGISTRY",
    "Compress",
    "Context",
    "DeHum",
    "Denoise",
    "HighPass",
    "LimitTruePeak",
    "NormalizeLoudness",
    "Stage",
    "Trim",
]
