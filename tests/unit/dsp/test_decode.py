"""Decoding: every container by its content, what is broken salvaged or refused with a reason."""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from dsp import ChannelInfo, Encoding, Limits, Source, probe_duration_s
from dsp.audio import AudioBuffer, Samples
from dsp.decode import opened
from dsp.errors import (
    EmptyFile,
    NoAudio,
    RecordingError,
    TooLong,
    Undecodable,
    UnsupportedChannels,
    UnsupportedContainer,
    UnsupportedSampleRate,
)
from dsp.report import InputInfo, ReportWarning

RATE_HZ = 8_000
SECONDS = 2.5
DATA = b"data"


def _sound(channels: int = 2, seconds: float = SECONDS, rate_hz: int = RATE_HZ) -> Samples:
    frames = round(seconds * rate_hz)
    wave = 0.4 * np.sin(np.arange(frames)[:, None] * np.arange(1, channels + 1) * 0.1)
    samples: Samples = wave.astype(np.float32)
    return samples


def _encoded(container: str, subtype: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    rate_hz = options.pop("rate_hz", RATE_HZ)
    samples = options.pop("samples", None)
    soundfile.write(
        file, _sound() if samples is None else samples, rate_hz, format=container, subtype=subtype, **options
    )
    return file.getvalue()


@dataclass(frozen=True)
class Decoded:
    audio: AudioBuffer
    info: InputInfo
    warnings: tuple[ReportWarning, ...]


def decode(source: Source, *, limits: Limits) -> Decoded:
    """Read a recording whole; what holds of every recording is checked on the way."""
    with opened(source, limits=limits) as recording:
        blocks = list(recording.blocks())
        for block in blocks:
            assert block.dtype == np.float32
            assert block.shape[1] == recording.channels
            assert block.flags.f_contiguous
        samples = np.concatenate(blocks)
        if recording.exact_bits is not None:
            scaled = samples * 2.0 ** (recording.exact_bits - 1)
            assert (scaled == np.rint(scaled)).all()
        assert recording.info.frames == len(samples)
        assert recording.info.sha256 == hashlib.sha256(source.path.read_bytes()).hexdigest()
        return Decoded(AudioBuffer(samples, recording.sample_rate_hz), recording.info, recording.warnings)


def _decoded(tmp_path: Path, content: bytes, name: str = "call.bin", **told: Any) -> Decoded:
    path = tmp_path / name
    path.write_bytes(content)
    return decode(Source(path, **told), limits=Limits())


CONTAINERS = [
    ("WAV", "PCM_16", "wav", "pcm_s16le"),
    ("WAV", "PCM_U8", "wav", "pcm_u8"),
    ("WAV", "PCM_24", "wav", "pcm_s24le"),
    ("WAV", "FLOAT", "wav", "pcm_f32le"),
    ("WAV", "ULAW", "wav", "pcm_mulaw"),
    ("WAV", "ALAW", "wav", "pcm_alaw"),
    ("WAV", "MS_ADPCM", "wav", "adpcm_ms"),
    ("WAV", "IMA_ADPCM", "wav", "adpcm_ima_wav"),
    ("WAVEX", "PCM_16", "wav", "pcm_s16le"),
    ("RF64", "PCM_16", "rf64", "pcm_s16le"),
    ("W64", "PCM_16", "w64", "pcm_s16le"),
    ("FLAC", "PCM_16", "flac", "flac"),
    ("OGG", "VORBIS", "ogg", "vorbis"),
    ("OGG", "OPUS", "ogg", "opus"),
    ("MP3", "MPEG_LAYER_III", "mp3", "mp3"),
    ("AIFF", "PCM_16", "aiff", "pcm_s16be"),
    ("AU", "ULAW", "au", "pcm_mulaw"),
    ("CAF", "ALAW", "caf", "pcm_alaw"),
]


@pytest.mark.parametrize(("container", "subtype", "name", "codec"), CONTAINERS)
@pytest.mark.parametrize("suffix", ["wav", "raw", "mp3", "bin"])
def test_a_container_is_told_by_its_content(
    tmp_path: Path, container: str, subtype: str, name: str, codec: str, suffix: str
) -> None:
    """Whatever the file is called."""
    content = _encoded(container, subtype)
    decoded = _decoded(tmp_path, content, f"call.{suffix}")
    assert (decoded.info.container, decoded.info.codec) == (name, codec)
    assert (decoded.info.sample_rate_hz, decoded.info.channels) == (RATE_HZ, 2)
    assert decoded.info.duration_s == pytest.approx(SECONDS, abs=0.15)
    assert decoded.info.bytes == len(content)
    assert decoded.audio.samples.shape == (decoded.info.frames, 2)
    assert decoded.audio.samples.dtype == np.float32
    assert np.sqrt(np.mean(decoded.audio.samples**2)) == pytest.approx(0.4 / np.sqrt(2), rel=0.05)
    assert decoded.warnings == ()


@pytest.mark.parametrize(
    ("form", "subtype", "codec", "channels"),
    [
        ("slin", "PCM_16", "pcm_s16le", 2),
        ("ulaw", "ULAW", "pcm_mulaw", 2),
        ("alaw", "ALAW", "pcm_alaw", 1),
        ("gsm", "GSM610", "gsm", 1),
    ],
)
def test_a_file_without_a_header_is_read_as_the_event_says(
    tmp_path: Path, form: Any, subtype: str, codec: str, channels: int
) -> None:
    content = _encoded("RAW", subtype, samples=_sound(channels))
    decoded = _decoded(tmp_path, content, encoding=Encoding(form, RATE_HZ, channels))
    assert (decoded.info.container, decoded.info.codec) == ("raw", codec)
    assert decoded.info.frames == pytest.approx(SECONDS * RATE_HZ, abs=160)
    assert np.corrcoef(decoded.audio.samples[:19_000, 0], _sound(channels)[:19_000, 0])[0, 1] > 0.95


def test_a_header_is_believed_over_the_event(tmp_path: Path) -> None:
    """An encoding with a WAV file would make noise of it."""
    decoded = _decoded(tmp_path, _encoded("WAV", "PCM_16"), encoding=Encoding("ulaw"))
    assert decoded.info.container == "wav"
    assert [warning.code for warning in decoded.warnings] == ["encoding_ignored"]


@pytest.mark.parametrize("subtype", ["PCM_16", "ULAW"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.01])
def test_a_cut_wav_is_salvaged_and_says_what_is_missing(tmp_path: Path, subtype: str, kept: float) -> None:
    """Libsndfile gives what is there without a word."""
    content = _encoded("WAV", subtype)
    start = content.index(DATA) + 8
    whole = len(content) - start
    cut = content[: start + int(whole * kept)]
    decoded = _decoded(tmp_path, cut)
    (warning,) = decoded.warnings
    assert warning.code == "truncated"
    assert f"{whole - int(whole * kept)} bytes" in warning.message
    assert f"{SECONDS * (1 - kept):.1f} s" in warning.message
    assert decoded.audio.duration_s == pytest.approx(SECONDS * kept, abs=0.01)


@pytest.mark.parametrize("container", ["FLAC", "MP3", "OGG"])
def test_other_cut_files_are_salvaged_too(tmp_path: Path, container: str) -> None:
    content = _encoded(container, samples=np.random.default_rng(0).normal(0, 0.1, (160_000, 1)))
    decoded = _decoded(tmp_path, content[: len(content) // 2])
    assert [warning.code for warning in decoded.warnings] == ["truncated"]
    assert decoded.audio.duration_s == pytest.approx(10.0, rel=0.2)


@pytest.mark.parametrize("length", [0, 0x7FFF_FFFF, 0xFFFF_1000, 0xFFFF_FFFF])
@pytest.mark.parametrize("riff", [0, 36, 0xFFFF_FFFF])
def test_a_length_that_was_never_filled_in_costs_nothing(tmp_path: Path, length: int, riff: int) -> None:
    """All that follows the header is read, and that it did not know is said."""
    content = bytearray(_encoded("WAV", "PCM_16"))
    at = content.index(DATA) + 4
    content[at : at + 4] = struct.pack("<I", length)
    content[4:8] = struct.pack("<I", riff)
    decoded = _decoded(tmp_path, bytes(content))
    assert decoded.audio.frames == SECONDS * RATE_HZ
    assert [warning.code for warning in decoded.warnings] == ["length_unknown"]


def test_a_flac_stream_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    content = bytearray(_encoded("FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    decoded = _decoded(tmp_path, bytes(content))
    assert decoded.audio.frames == SECONDS * RATE_HZ
    assert probe_duration_s(Source(tmp_path / "call.bin"), limits=Limits()) == Limits().max_duration_s


@pytest.mark.parametrize(
    ("content", "error", "code"),
    [
        (b"", EmptyFile, "empty_file"),
        (b"\x00", Undecodable, "undecodable"),
        (b"Dear customer, this call may be recorded.\n" * 100, Undecodable, "undecodable"),
        (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", Undecodable, "undecodable"),
        (b"RIFF\x00\x00\x00\x00WAVE", Undecodable, "undecodable"),
        (b"RIFF", Undecodable, "undecodable"),
        (b"OggS" + bytes(100), Undecodable, "undecodable"),
        (b"fLaC" + bytes(100), Undecodable, "undecodable"),
        (b"ID3" + bytes(1000), Undecodable, "undecodable"),
        (_encoded("WAV")[:44], NoAudio, "no_audio"),
        (_encoded("WAV", samples=np.zeros((0, 1))), NoAudio, "no_audio"),
        (_encoded("WAV", rate_hz=7_999), UnsupportedSampleRate, "unsupported_sample_rate"),
        (_encoded("WAV", rate_hz=1_000_000), UnsupportedSampleRate, "unsupported_sample_rate"),
        (_encoded("WAV", samples=np.zeros((10, 9))), UnsupportedChannels, "unsupported_channels"),
        (_encoded("WAV", samples=np.zeros((10, 1024))), UnsupportedChannels, "unsupported_channels"),
        (_encoded("NIST"), UnsupportedContainer, "unsupported_container"),
    ],
)
def test_what_cannot_be_cleaned_is_refused_with_a_code(
    tmp_path: Path, content: bytes, error: type[RecordingError], code: str
) -> None:
    """By the probe, or at last by the decoder; never again by trying once more."""
    with pytest.raises(error) as refused:
        _decoded(tmp_path, content, "call.wav")
    assert (refused.value.code, refused.value.retriable) == (code, False)
    assert str(refused.value).endswith(".")


def test_a_header_without_samples_and_chunks_behind_it_is_empty(tmp_path: Path) -> None:
    """A length of 0 is believed where another chunk follows: tags are no samples."""
    content = bytearray(_encoded("WAV", "PCM_16")[:44])
    content[40:44] = bytes(4)
    content += (
        struct.pack("<4sI", b"LIST", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"recorder 1.0\x00\x00"
    )
    with pytest.raises(NoAudio):
        _decoded(tmp_path, bytes(content))


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize(
    "limits", [Limits(max_duration_s=2.4), Limits(max_samples=39_000)], ids=["duration", "samples"]
)
def test_what_is_too_long_is_refused_by_the_header(tmp_path: Path, container: str, limits: Limits) -> None:
    path = tmp_path / "call"
    path.write_bytes(_encoded(container))
    for look in (probe_duration_s, decode):
        with pytest.raises(TooLong) as refused:
            look(Source(path), limits=limits)
        assert refused.value.code == "too_long"


def test_a_header_that_promises_terabytes_takes_no_memory(tmp_path: Path) -> None:
    """A FLAC file of some kB that says it has 2^35 frames is refused before anything is allocated."""
    content = bytearray(_encoded("FLAC"))
    content[21] = (content[21] & 0xF0) | 0x8
    with pytest.raises(TooLong):
        _decoded(tmp_path, bytes(content))


def test_a_stream_of_unknown_length_is_stopped_at_the_limit(tmp_path: Path) -> None:
    content = bytearray(_encoded("FLAC"))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path = tmp_path / "call"
    path.write_bytes(content)
    with pytest.raises(TooLong):
        decode(Source(path), limits=Limits(max_duration_s=1.0))


def test_what_is_no_number_becomes_zero_and_is_told_by_channel(tmp_path: Path) -> None:
    samples = _sound()
    samples[100:110, 0] = np.nan
    samples[200, 1] = np.inf
    samples[300, 1] = 1e30
    decoded = _decoded(tmp_path, _encoded("WAV", "FLOAT", samples=samples))
    assert [(warning.code, warning.channel) for warning in decoded.warnings] == [
        ("not_finite", 0),
        ("not_finite", 1),
        ("out_of_range", 1),
    ]
    assert decoded.audio.frames == len(samples)
    assert not decoded.audio.samples[100:110, 0].any()
    assert np.abs(decoded.audio.samples).max() == 16.0


def test_more_names_than_channels_are_told(tmp_path: Path) -> None:
    named = (ChannelInfo("agent"), ChannelInfo("customer"))
    decoded = _decoded(tmp_path, _encoded("WAV", samples=_sound(1)), channels=named)
    assert [warning.code for warning in decoded.warnings] == ["channels_mismatch"]


def test_a_missing_file_stays_the_os_error_that_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(Source(tmp_path / "nowhere.wav"), limits=Limits())
