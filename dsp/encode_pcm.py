"""WAV and FLAC: what is written is known to the bit, and the same however the stream is cut."""

from __future__ import annotations

import functools
import struct
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.output_file import OutputFile

_RIFF_MOST: Final = 0xFFFF_FFFF
_IN_DS64: Final = 0xFFFF_FFFF
_DS64: Final = struct.Struct("<4sIQQQI")
# Level 3 of 8: a quarter less work than the usual 5, for files that are 1% longer.
_FLAC_COMPRESSION: Final = 3 / 8


def quantized(block: Samples, bits: int) -> Samples:
    """Round to whole steps of ``bits`` and clip to full scale; float32 in steps, shape as given, Fortran order."""
    full_scale = np.float32(2.0 ** (bits - 1))
    steps = np.empty(block.shape, dtype=np.float32, order="F")
    np.multiply(block, full_scale, out=steps)
    np.rint(steps, out=steps)
    # Looking is cheaper than clipping, and it is seldom needed.
    if steps.max() >= full_scale or steps.min() < -full_scale:
        np.clip(steps, -full_scale, full_scale - 1, out=steps)
    return steps


def _interleaved(steps: Samples, dtype: type[Any]) -> NDArray[Any]:
    rows = np.empty(steps.shape, dtype=dtype)
    for channel in range(steps.shape[1]):
        rows[:, channel] = steps[:, channel]
    return rows


@functools.cache
def _mu_law_tables() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Code of each 16 bit sample, by its unsigned value, and what a reader gets for it (ITU-T G.711, table 2a)."""
    sample = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum(np.abs(sample), 32_635) + 132
    exponent = sum((magnitude >= 1 << bit).astype(np.int32) for bit in range(8, 15))
    mantissa = magnitude >> (exponent + 3) & 0x0F
    code = (exponent << 4 | mantissa | np.where(sample < 0, 0x80, 0)) ^ 0xFF
    value = np.sign(sample) * (((mantissa * 8 + 132) << exponent) - 132)
    return code.astype(np.uint8), value.astype(np.float32) / np.float32(32_768.0)


class WavSink:
    """A WAV file; RF64 (EBU Tech 3306) where it gets longer than 4 GB."""

    def __init__(self, file: OutputFile, sample_rate_hz: int, channels: int, encoding: str) -> None:
        self.sample_rate_hz = sample_rate_hz
        self._file, self._channels, self._encoding = file, channels, encoding
        self._frames = 0
        file.write(self._header())

    def write(self, block: Samples) -> Samples:
        """Write the next frames, and give them as a reader of the file will see them."""
        self._frames += len(block)
        if self._encoding == "pcm_24":
            steps = quantized(block, 24)
            words = _interleaved(steps, np.int32).astype("<i4", copy=False)
            self._file.write(words.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
            steps *= np.float32(2.0**-23)
            return steps
        steps = quantized(block, 16)
        rows = _interleaved(steps, np.int16)
        if self._encoding == "mulaw":
            codes, values = _mu_law_tables()
            # Every 16 bit number is in the tables; "clip" only spares the check of it.
            self._file.write(np.take(codes, rows.view(np.uint16), mode="clip").data)
            for channel in range(self._channels):
                np.take(values, rows[:, channel].view(np.uint16), out=steps[:, channel], mode="clip")
            return steps
        self._file.write(rows.astype("<i2", copy=False).data)
        steps *= np.float32(2.0**-15)
        return steps

    def finish(self) -> None:
        """Write what stands at the end, and the lengths at the beginning."""
        if self._data_bytes % 2:
            self._file.write(b"\0")
        self._file.seek(0)
        self._file.write(self._header())

    def abandon(self) -> None:
        """Nothing is held back."""

    @property
    def _sample_bytes(self) -> int:
        return {"pcm_16": 2, "pcm_24": 3, "mulaw": 1}[self._encoding]

    @property
    def _data_bytes(self) -> int:
        return self._frames * self._channels * self._sample_bytes

    def _header(self) -> bytes:
        """RIFF with room for the lengths of RF64, which are filled in where 32 bits are too few."""
        frame_bytes = self._channels * self._sample_bytes
        is_g711 = self._encoding == "mulaw"
        fmt = struct.pack(
            "<HHIIHH",
            7 if is_g711 else 1,
            self._channels,
            self.sample_rate_hz,
            self.sample_rate_hz * frame_bytes,
            frame_bytes,
            8 * self._sample_bytes,
        ) + (struct.pack("<H", 0) if is_g711 else b"")
        fact = struct.pack("<4sII", b"fact", 4, min(self._frames, _IN_DS64)) if is_g711 else b""
        chunks = struct.pack("<4sI", b"fmt ", len(fmt)) + fmt + fact
        riff_bytes = 4 + _DS64.size + len(chunks) + 8 + self._data_bytes + self._data_bytes % 2
        is_long = riff_bytes > _RIFF_MOST
        lengths = (riff_bytes, self._data_bytes, self._frames, 0) if is_long else (0, 0, 0, 0)
        return b"".join(
            (
                struct.pack(
                    "<4sI4s", b"RF64" if is_long else b"RIFF", _IN_DS64 if is_long else riff_bytes, b"WAVE"
                ),
                _DS64.pack(b"ds64" if is_long else b"JUNK", _DS64.size - 8, *lengths),
                chunks,
                struct.pack("<4sI", b"data", _IN_DS64 if is_long else self._data_bytes),
            )
        )


class FlacSink:
    """A FLAC file."""

    def __init__(self, file: OutputFile, sample_rate_hz: int, channels: int, encoding: str) -> None:
        import soundfile  # noqa: PLC0415  (WAV does without it)

        self.sample_rate_hz = sample_rate_hz
        self._bits = 24 if encoding == "pcm_24" else 16
        self._output = file
        self._file = soundfile.SoundFile(
            file,
            "w",
            sample_rate_hz,
            channels,
            subtype=f"PCM_{self._bits}",
            format="FLAC",
            compression_level=_FLAC_COMPRESSION,
        )

    def write(self, block: Samples) -> Samples:
        """Write the next frames, and give them as a reader of the file will see them."""
        steps = quantized(block, self._bits)
        # Libsndfile takes the upper 24 of 32 bits.
        rows = _interleaved(steps, np.int16) if self._bits == 16 else _interleaved(steps, np.int32) << 8  # noqa: PLR2004
        self._file.write(rows)
        steps *= np.float32(2.0 ** (1 - self._bits))
        return steps

    def finish(self) -> None:
        """Write what is held back, and the lengths at the beginning."""
        self._file.close()

    def abandon(self) -> None:
        """Free what libsndfile holds; what it still wants to write is refused by the file."""
        with suppress(RuntimeError):  # as libsndfile's errors are
            self._file.close()
