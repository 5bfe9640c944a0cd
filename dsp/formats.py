"""The formats of outputs."""

from __future__ import annotations

from typing import Final

ENCODINGS: Final = {"flac": ("pcm_16", "pcm_24"), "wav": ("pcm_16", "pcm_24", "mulaw")}
"""Formats of which the samples are known to the bit as they are written, and how these can be stored; the first where
nothing is chosen."""
LOSSY_FORMATS: Final = ("mp3", "m4a", "opus")
"""Of these only a decoder can say what was stored; they have a bit rate."""
