"""Decoding by FFmpeg (PyAV): what libsndfile does not read.

FFmpeg is never asked what a file is. The demuxer is given to it, so no playlist or other description of where to find
sound is opened; it reads through a file object of ours, so it can reach no other file and no network; and only the
codecs listed here are run on what the demuxer finds.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, cast

import av
import numpy as np
from numpy.typing import NDArray

from dsp.audio import Samples
from dsp.decode_reader import BLOCK_FRAMES, StreamFacts
from dsp.errors import NoAudio, Undecodable, UnsupportedCodec

# FFmpeg's decoders by the codecs that we take, and the name for the report where it is another.
_DECODERS: Final = {
    "aac": "aac",
    "adpcm_ima_wav": "adpcm_ima_wav",
    "adpcm_ms": "adpcm_ms",
    "alac": "alac",
    "amrnb": "amr_nb",
    "amrwb": "amr_wb",
    "flac": "flac",
    "g722": "adpcm_g722",
    "g723_1": "g723_1",
    "g726": "adpcm_g726",
    "g726le": "adpcm_g726le",
    "g729": "g729",
    "gsm": "gsm",
    "gsm_ms": "gsm",
    "mp2float": "mp2",
    "mp3float": "mp3",
    "opus": "opus",
    "pcm_alaw": "pcm_alaw",
    "pcm_f32be": "pcm_f32be",
    "pcm_f32le": "pcm_f32le",
    "pcm_f64be": "pcm_f64be",
    "pcm_f64le": "pcm_f64le",
    "pcm_mulaw": "pcm_mulaw",
    "pcm_s16be": "pcm_s16be",
    "pcm_s16le": "pcm_s16le",
    "pcm_s24be": "pcm_s24be",
    "pcm_s24le": "pcm_s24le",
    "pcm_s32be": "pcm_s32be",
    "pcm_s32le": "pcm_s32le",
    "pcm_s8": "pcm_s8",
    "pcm_u8": "pcm_u8",
    "speex": "speex",
    "truespeech": "truespeech",
    "vorbis": "vorbis",
}
# FFmpeg's own AMR decoders give up on frames of "nothing said", which telephones store by the thousand.
_BETTER_DECODERS: Final = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
_MOST_SKIPPED_PACKETS: Final = 50_000  # in a row: a second's work
_OPTIONS: Final = {"codec_whitelist": ",".join(_DECODERS), "protocol_whitelist": "none"}
_SCALES: Final = {"i2": 1.0 / 32_768.0, "i4": 1.0 / 2_147_483_648.0}
_MAY_PAUSE: Final = ("matroska", "mov")  # browsers send nothing while nobody speaks; elsewhere it is damage
_JITTER_S: Final = 0.01  # Matroska rounds its times to a millisecond
_LONGEST_GAP_S: Final = 600.0  # beyond this it is the time that is wrong, not the sound that is missing


@dataclass(frozen=True)
class Demuxer:
    """How FFmpeg is to read a file."""

    name: str
    """FFmpeg's name of the format."""
    container: str
    """Name for the report."""
    knows_length: bool = True
    """Whether its header has a length; FFmpeg guesses one from the bit rate where it has none."""


class AvReader:
    """A recording that FFmpeg decodes."""

    def __init__(self, opened: av.container.InputContainer, stream: av.AudioStream, demuxer: Demuxer) -> None:
        self.broke: str | None = None
        self.lost_frames = 0
        self.gap_frames = 0
        self._opened, self._stream = opened, stream
        self._decoder = _decoder(stream)
        self._may_pause = demuxer.name in _MAY_PAUSE
        self._skipped_packets = 0
        self._frames = self._decoded()
        self._first = next(self._frames, None)
        if self._first is None:
            raise NoAudio(f"The recording has a header but no sound that can be decoded{self._why()}.")
        rate_hz = int(self._first.sample_rate)
        self.facts = StreamFacts(
            container=demuxer.container,
            codec=_DECODERS[_decoder_name(stream)],
            sample_rate_hz=rate_hz,
            channels=len(self._first.layout.channels),
            promised_frames=self._promised_frames(rate_hz) if demuxer.knows_length else None,
            exact_bits=16 if self._first.format.name in ("s16", "s16p", "u8", "u8p") else None,
            tracks=len(opened.streams.audio),
        )

    def blocks(self) -> Iterator[Samples]:
        """Give the samples once; where packets are missing or damaged, silence takes their place."""
        waiting: list[Samples] = []
        waiting_frames = 0
        for piece in self._trimmed():
            waiting.append(piece)
            waiting_frames += len(piece)
            if waiting_frames >= BLOCK_FRAMES:
                yield _joined(waiting)
                waiting, waiting_frames = [], 0
        if waiting:
            yield _joined(waiting)

    def _trimmed(self) -> Iterator[Samples]:
        """Cut from the last piece what the encoder filled it up with."""
        promised = self.facts.promised_frames
        frames = 0
        held: Samples | None = None
        for piece in self._pieces():
            if held is not None:
                yield held
            held = piece
            frames += len(piece)
        if held is not None:
            surplus = 0 if promised is None else frames - promised
            yield held[: len(held) - surplus] if 0 < surplus < len(held) else held

    def _pieces(self) -> Iterator[Samples]:
        """Give the sound of each packet, and silence where the times say that some is missing."""
        rate_hz, channels = self.facts.sample_rate_hz, self.facts.channels
        clock = _Clock(rate_hz, self.facts.promised_frames)
        if self._skipped_packets and self._stream.start_time is not None and self._stream.time_base:
            clock.begin(self._stream.start_time * self._stream.time_base)
        for frame in self._all_frames():
            if frame.sample_rate != rate_hz or len(frame.layout.channels) != channels:
                self._skipped_packets += 1
                continue
            missing = clock.missing_before(frame)
            if self._skipped_packets or not self._may_pause:
                self.lost_frames += missing
            else:
                self.gap_frames += missing
            self._skipped_packets = 0
            for start in range(0, missing, BLOCK_FRAMES):
                yield np.zeros((min(BLOCK_FRAMES, missing - start), channels), dtype=np.float32, order="F")
            yield _samples(frame, channels)
        if self._skipped_packets and self.broke is None:
            self.broke = "its last packets are damaged"

    def _all_frames(self) -> Iterator[av.AudioFrame]:
        if self._first is not None:
            yield self._first
        yield from self._frames

    def _decoded(self) -> Iterator[av.AudioFrame]:
        packets = self._opened.demux(self._stream)
        while self._skipped_packets < _MOST_SKIPPED_PACKETS:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self.broke = _reason(error)
                return
            if packet is None:
                return
            try:
                frames = self._decoder.decode(packet)
            except av.FFmpegError:
                self._skipped_packets += 1
                continue
            yield from frames

    def _promised_frames(self, rate_hz: int) -> int | None:
        if self._stream.duration and self._stream.duration > 0 and self._stream.time_base:
            return round(self._stream.duration * self._stream.time_base * rate_hz)
        if self._opened.duration and self._opened.duration > 0:
            return round(Fraction(self._opened.duration, av.time_base) * rate_hz)
        return None

    def _why(self) -> str:
        if self.broke is not None:
            return f" ({self.broke})"
        return f" ({self._skipped_packets} packets are damaged)" if self._skipped_packets else ""


class _Clock:
    """Where a frame belongs, by its time."""

    def __init__(self, rate_hz: int, promised_frames: int | None) -> None:
        self._rate_hz = rate_hz
        longest = round(_LONGEST_GAP_S * rate_hz)
        self._last = None if promised_frames is None else promised_frames + longest
        self._longest = longest if promised_frames is None else promised_frames
        self._offset: int | None = None
        self._at = 0

    def begin(self, time_s: Fraction) -> None:
        """Count from here and not from the first frame, since others should have come before it."""
        self._offset = round(time_s * self._rate_hz)

    def missing_before(self, frame: av.AudioFrame) -> int:
        """Give the frames that are missing between the last one and this."""
        missing = 0
        if frame.pts is not None and frame.time_base:
            place = round(frame.pts * frame.time_base * self._rate_hz)
            if self._offset is None:
                self._offset = place
            missing = place - self._offset - self._at
            if missing > self._longest or (self._last is not None and place - self._offset > self._last):
                self._offset = place - self._at  # a wrong time: go on from here
                missing = 0
            if missing < _JITTER_S * self._rate_hz:
                missing = 0
        self._at += missing + frame.samples
        return missing


@contextmanager
def opened_by_av(stream: io.BufferedReader, demuxer: Demuxer) -> Iterator[AvReader]:
    """Open what FFmpeg decodes.

    Raises
    ------
    Undecodable
        It is no file of that format, or damaged beyond reading.
    NoAudio
        There is no sound in it.
    UnsupportedCodec
        Its sound is of a codec that is not taken.
    """
    try:
        opened = av.open(stream, "r", format=demuxer.name, options=_OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise Undecodable(
            f"The file is not audio that Clearcall can read: it begins as {demuxer.container}, but {_reason(error)}."
        ) from error
    with opened:
        yield AvReader(opened, _taken_stream(opened), demuxer)


def _taken_stream(opened: av.container.InputContainer) -> av.AudioStream:
    """Choose the first track of a codec that is taken."""
    tracks = opened.streams.audio
    if not tracks:
        raise NoAudio("The file has no sound track.")
    for track in tracks:
        if _decoder_name(track) in _DECODERS:
            return track
    names = ", ".join(map(_decoder_name, tracks))
    raise UnsupportedCodec(f"The sound is of a codec that is not taken: {names}.")


def _decoder_name(track: av.AudioStream) -> str:
    # Where FFmpeg has no decoder there is no context, whatever the declared type says.
    context: av.AudioCodecContext | None = track.codec_context
    return "unknown" if context is None else context.name


def _decoder(track: av.AudioStream) -> av.AudioCodecContext:
    better = _BETTER_DECODERS.get(track.codec_context.name)
    if better is None:
        context = track.codec_context
    else:
        context = cast("av.AudioCodecContext", av.CodecContext.create(better, "r"))
        context.sample_rate = track.codec_context.sample_rate
        context.layout = "mono"
    context.thread_count = 1
    if context.name == "flac":
        # A frame whose check sum is wrong may be noise at full scale, or nearly right: nobody can tell.
        context.options = {"err_detect": "crccheck+explode"}
    return context


def _samples(frame: av.AudioFrame, channels: int) -> Samples:
    decoded: NDArray[Any] = frame.to_ndarray()
    planes = decoded if frame.format.is_planar else decoded.reshape(-1, channels).T
    samples = np.empty((planes.shape[1], channels), dtype=np.float32, order="F")
    kind = planes.dtype.str[1:]
    if kind == "u1":
        samples.T[:] = (planes.astype(np.float32) - 128.0) / 128.0
    elif kind in _SCALES:
        np.multiply(planes, _SCALES[kind], out=samples.T, casting="unsafe")
    else:
        samples.T[:] = planes
    return samples


def _joined(pieces: list[Samples]) -> Samples:
    frames = sum(map(len, pieces))
    whole = np.empty((frames, pieces[0].shape[1]), dtype=np.float32, order="F")
    np.concatenate(pieces, out=whole)
    return whole


def _reason(error: Any) -> str:
    text = str(getattr(error, "strerror", "") or error).strip().rstrip(".")
    return f"{text[:1].lower()}{text[1:]}" if text else type(error).__name__
