"""From samples to a file: PCM, the same bytes every time."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from dsp.audio import AudioBuffer

_FULL_SCALE = 32_768.0
_FORMATS = {"flac": ("FLAC", "PCM_16"), "wav": ("WAV", "PCM_16")}


def quantized(audio: AudioBuffer) -> NDArray[np.int16]:
    """Round to 16 bit, shape (frames, channels); what leaves full scale is clipped."""
    scaled = np.rint(audio.samples * np.float32(_FULL_SCALE))
    rounded: NDArray[np.int16] = np.clip(scaled, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
    return rounded


def dequantized(samples: NDArray[np.int16], sample_rate_hz: int) -> AudioBuffer:
    """Give 16 bit samples as a reader of the file will see them."""
    return AudioBuffer((samples / np.float32(_FULL_SCALE)).astype(np.float32), sample_rate_hz)


def encode(
    samples: NDArray[np.int16], sample_rate_hz: int, path: Path, *, file_format: str
) -> tuple[str, int]:
    """Write a file; answers its SHA-256 in hex and its length in bytes."""
    container, subtype = _FORMATS[file_format]
    soundfile.write(path, samples, sample_rate_hz, format=container, subtype=subtype)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()
