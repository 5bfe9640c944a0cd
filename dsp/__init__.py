"""The sound of Clearcall: denoise, loudness-normalize, true-peak-limit, and measure.

Knows nothing of events, stores or loops: files in, files and a report out.
"""

from dsp.audio import AudioBuffer, ChannelInfo, Encoding, Limits, Pause, Source
from dsp.chain import OUTPUT_VERSION, ChainFile, ResolvedChain
from dsp.chain_file import load_chain_file, shipped_chain_file
from dsp.cleaning import clean, measure, warm_up
from dsp.decode import probe_duration_s
from dsp.errors import ChainFileError, DspError, RecordingError, UnknownChain, UnknownRendition
from dsp.report import CleanReport, MeasureReport

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
