"""The sound of Clearcall: denoise, loudness-normalize, true-peak-limit, and measure.

Knows nothing of events, stores or loops: files in, files and a report out.

What computes is imported when it is first asked for: a worker's parent process only reads chains and reports, and need
not carry scipy's 75 MB for that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dsp.audio import AudioBuffer, ChannelInfo, Encoding, Limits, Pause, Source
from dsp.chain import OUTPUT_VERSION, ChainFile, ResolvedChain
from dsp.chain_file import load_chain_file, shipped_chain_file
from dsp.errors import ChainFileError, DspError, RecordingError, UnknownChain, UnknownRendition
from dsp.report import CleanReport, MeasureReport

if TYPE_CHECKING:
    from dsp.cleaning import clean, measure, warm_up
    from dsp.decode import probe_duration_s

_COMPUTING = {
    "clean": "dsp.cleaning",
    "measure": "dsp.cleaning",
    "probe_duration_s": "dsp.decode",
    "warm_up": "dsp.cleaning",
}


def __getattr__(name: str) -> Any:
    if name in _COMPUTING:
        return getattr(import_module(_COMPUTING[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "OUTPUT_VERSION",
    "AudioBuffer",
    "ChainFile",
    "ChainFileError",
    "ChannelInfo",
    "CleanReport",
    "DspError",
    "Encoding",
    "Limits",
    "MeasureReport",
    "Pause",
    "RecordingError",
    "ResolvedChain",
    "Source",
    "UnknownChain",
    "UnknownRendition",
    "clean",
    "load_chain_file",
    "measure",
    "probe_duration_s",
    "shipped_chain_file",
    "warm_up",
]
