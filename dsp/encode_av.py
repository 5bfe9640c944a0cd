"""MP3, AAC and Opus, by FFmpeg (PyAV). Each has a rate it can hold, and says how much its encoder put in front."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, cast

import av
import numpy as np

from dsp.audio import Samples
from dsp.errors import UnsupportedChannels
from dsp.output_file import OutputFile


@dataclass(frozen=True)
class _Codec:
    """How a format is made."""

    muxer: str
    encoder: str
    sample_format: str
    rates_hz: tuple[int, ...]
    most_channels: int
    kbps_per_channel: dict[int, int]
    """Bit rate a channel by the highest rate that it is meant for: speech that is hard to tell from the original."""
    options: dict[str, str]


_MPEG_RATES_HZ: Final = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
# A party a channel: what encoders do to share bits between channels would let one be heard in the other's silence.
_CODECS: Final = {
    "mp3": _Codec(
        muxer="mp3",
        encoder="libmp3lame",
        sample_format="fltp",
        rates_hz=_MPEG_RATES_HZ,
        most_channels=2,
        kbps_per_channel={12_000: 32, 24_000: 48, 48_000: 64},
        options={"joint_stereo": "0"},
    ),
    "m4a": _Codec(
        muxer="ipod",
        encoder="aac",
        sample_format="fltp",
        rates_hz=_MPEG_RATES_HZ,
        most_channels=2,
        kbps_per_channel={12_000: 32, 24_000: 48, 48_000: 64},
        options={"aac_ms": "0", "aac_is": "0"},
    ),
    "opus": _Codec(
        muxer="opus",
        encoder="libopus",
        sample_format="flt",
        rates_hz=(8_000, 12_000, 16_000, 24_000, 48_000),
        most_channels=2,
        kbps_per_channel={12_000: 24, 24_000: 32, 48_000: 48},
        options={"application": "voip", "apply_phase_inv": "0"},
    ),
}


class LossySink:
    """A file of a format that loses something.

    Raises
    ------
    UnsupportedChannels
        The format holds fewer channels.
    """

    def __init__(
        self,
        file: OutputFile,
        sample_rate_hz: int,
        channels: int,
        file_format: str,
        bit_rate_kbps: int | None,
    ) -> None:
        self._codec = codec = _CODECS[file_format]
        if channels > codec.most_channels:
            raise UnsupportedChannels(
                f"The recording has {channels} channels; {file_format} holds {codec.most_channels}. "
                "Choose flac or wav, or a layout of mono or split."
            )
        # The next rate above keeps all that is heard.
        self.sample_rate_hz = next(rate for rate in codec.rates_hz if rate >= sample_rate_hz)
        self._resampler = (
            None
            if self.sample_rate_hz == sample_rate_hz
            else _resampler(sample_rate_hz, self.sample_rate_hz, channels)
        )
        self._layout = "mono" if channels == 1 else "stereo"
        self._container = av.open(file, "w", format=codec.muxer, options=self._muxer_options())
        self._stream = cast(
            "av.AudioStream",
            self._container.add_stream(
                codec.encoder,
                rate=self.sample_rate_hz,
                layout=self._layout,
                format=codec.sample_format,
                bit_rate=1000 * (bit_rate_kbps or channels * self._default_kbps()),
                options={**codec.options, "flags": "+bitexact"},
            ),
        )
        self._stream.codec_context.open()
        self._block_frames = self._stream.codec_context.frame_size
        self._waiting = np.zeros((0, channels), dtype=np.float32)
        self._frames = 0

    def write(self, block: Samples) -> Samples:
        """Write the next frames; what a reader gets cannot be told from here, so they are given back as they are."""
        np.clip(block, -1.0, 1.0, out=(clipped := np.empty_like(block)))
        self._encode(clipped, last=False)
        return clipped

    def finish(self) -> None:
        """Write what is held back, and the lengths at the beginning."""
        self._encode(self._waiting[:0], last=True)
        if len(self._waiting):
            self._encode_frame(self._waiting)
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Free what the encoder holds; what it still wants to write is refused by the file."""
        with suppress(av.FFmpegError, OSError):
            self._container.close()

    def _encode(self, block: Samples, *, last: bool) -> None:
        if self._resampler is not None:
            block = self._resampler.resample_chunk(np.ascontiguousarray(block), last=last)
        self._waiting = np.concatenate((self._waiting, block))
        whole = len(self._waiting) // self._block_frames * self._block_frames
        for start in range(0, whole, self._block_frames):
            self._encode_frame(self._waiting[start : start + self._block_frames])
        self._waiting = self._waiting[whole:]

    def _encode_frame(self, samples: Samples) -> None:
        planes = samples.reshape(1, -1) if self._codec.sample_format == "flt" else samples.T
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes), format=self._codec.sample_format, layout=self._layout
        )
        frame.sample_rate = self.sample_rate_hz
        frame.time_base = Fraction(1, self.sample_rate_hz)
        frame.pts = self._frames
        self._frames += len(samples)
        self._container.mux(self._stream.encode(frame))

    def _muxer_options(self) -> dict[str, str]:
        # Bit-exact: no date, no version and no random number in the file.
        options = {"fflags": "+bitexact"}
        if self._codec.muxer == "ipod":
            options["movie_timescale"] = str(
                self.sample_rate_hz
            )  # else the length is rounded to a millisecond
        return options

    def _default_kbps(self) -> int:
        return next(
            kbps for rate_hz, kbps in self._codec.kbps_per_channel.items() if self.sample_rate_hz <= rate_hz
        )


def _resampler(from_hz: int, to_hz: int, channels: int) -> Any:
    import soxr  # noqa: PLC0415  (few rates need it)

    return soxr.ResampleStream(from_hz, to_hz, channels, dtype="float32")
