"""From samples to a file: PCM, the same bytes every time."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from dsp.audio import AudioBuffer

_FULL_SCALE = 32_768.0
_FORMATS = {"flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16")}


def quantized(audio: AudioBuffer) -> NDArray[np.int16]:
    """Round to 16 bit, shape (frames, channels); what leaves full scale is clipped."""
    scaled = audio.samples * np.float32(_FULL_SCALE)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1, out=scaled)
    rounded: NDArray[np.int16] = scaled.astype(np.int16)
    return rounded


def dequantized(samples: NDArray[np.int16], sample_rate_hz: int) -> AudioBuffer:
    """Give 16 bit samples as a reader of the file will see them."""
    return AudioBuffer(samples.astype(np.float32) / np.float32(_FULL_SCALE), sample_rate_hz)


def encode(
    samples: NDArray[np.int16], sample_rate_hz: int, path: Path, *, file_format: str
) -> tuple[str, int]:
    """Write a file, which appears whole or not at all; answers its SHA-256 in hex and its length in bytes.

    Raises
    ------
    OSError
        It cannot be written; nothing is left behind.
    """
    container, subtype = _FORMATS[file_format]
    content = io.BytesIO()  # libsndfile itself does not tell a full disk from a good one
    soundfile.write(content, samples, sample_rate_hz, format=container, subtype=subtype)
    aside = path.with_name(f".{path.name}.part")
    try:
        aside.write_bytes(content.getbuffer())
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return hashlib.sha256(content.getbuffer()).hexdigest(), content.getbuffer().nbytes
