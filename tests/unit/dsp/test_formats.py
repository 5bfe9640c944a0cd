"""Every format that telephony writes: told by its content, read in time, salvaged where it is damaged."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dsp import Encoding, Limits, Source, probe_duration_s
from dsp.audio import Samples
from dsp.decode import opened
from dsp.decode_pcm import open_headerless
from dsp.errors import NoAudio, RecordingError, TooLong, Undecodable, UnsupportedChannels, UnsupportedCodec
from dsp.input_file import InputFile, window
from dsp.ogg_pages import ogg_lost_ticks
from dsp.report import InputInfo, ReportWarning
from tests.support.audio_files import (
    RATE_HZ,
    AudioFile,
    amr_wb,
    by_ffmpeg,
    by_sndfile,
    every_format,
    tone,
    wav_of,
)

FILES = every_format()
MEANINGFUL = [file for file in FILES if file.frames is not None]
# What a coder may add to fill its last block, at most; MP3 in RIFF and bare AAC do not say what they put in front.
PADDING_FRAMES = 2_400


def _decoded(
    tmp_path: Path, content: bytes, encoding: Encoding | None = None, limits: Limits | None = None
) -> tuple[Samples, InputInfo, tuple[ReportWarning, ...]]:
    path = tmp_path / "call.wav"
    path.write_bytes(content)
    with opened(Source(path, encoding=encoding), limits=limits or Limits()) as recording:
        samples = np.concatenate(list(recording.blocks()))
        return samples, recording.info, recording.warnings


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_format_is_told_and_read(tmp_path: Path, file: AudioFile) -> None:
    samples, info, warnings = _decoded(tmp_path, file.content, file.encoding)
    assert (info.container, info.codec) == (file.container, file.codec)
    assert (info.sample_rate_hz, info.channels) == (file.sample_rate_hz, file.channels)
    assert info.frames == len(samples)
    assert warnings == ()
    assert np.isfinite(samples).all()
    assert samples.any()


@pytest.mark.parametrize("file", MEANINGFUL, ids=lambda file: file.name)
def test_every_channel_keeps_its_sound_and_its_place(tmp_path: Path, file: AudioFile) -> None:
    samples, _, _ = _decoded(tmp_path, file.content, file.encoding)
    assert file.frames is not None
    assert file.frames <= len(samples) <= file.frames + PADDING_FRAMES
    expected = tone(file.frames, file.channels, file.sample_rate_hz)
    inner = slice(2 * PADDING_FRAMES, -2 * PADDING_FRAMES)
    for channel in range(file.channels):
        heard = np.fft.rfft(samples[: file.frames, channel][inner] * np.hanning(file.frames)[inner])
        meant = np.fft.rfft(expected[:, channel][inner] * np.hanning(file.frames)[inner])
        assert np.abs(heard).argmax() == np.abs(meant).argmax()
        assert np.abs(heard).max() == pytest.approx(np.abs(meant).max(), rel=0.15)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_same_file_gives_the_same_samples(tmp_path: Path, file: AudioFile) -> None:
    first, _, _ = _decoded(tmp_path, file.content, file.encoding)
    second, _, _ = _decoded(tmp_path, file.content, file.encoding)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if file.name.startswith(("WAV", "RF64", "W64", "FLAC", "AIFF", "AU", "CAF"))],
    ids=lambda file: file.name,
)
def test_blocks_are_what_libsndfile_gives_in_one_piece(tmp_path: Path, file: AudioFile) -> None:
    """The plain samples that we read ourselves, too."""
    samples, _, _ = _decoded(tmp_path, file.content)
    whole, _ = soundfile.read(tmp_path / "call.wav", dtype="float32", always_2d=True)
    np.testing.assert_array_equal(samples, whole)


@pytest.mark.parametrize("form", ["ulaw", "alaw"])
def test_every_byte_of_g_711_is_what_libsndfile_makes_of_it(tmp_path: Path, form: str) -> None:
    path = tmp_path / "call.raw"
    path.write_bytes(bytes(range(256)))
    encoding = Encoding(form, RATE_HZ, 1)  # type: ignore[arg-type]
    with InputFile(Source(path)) as file:
        reader = open_headerless(file, encoding)
        assert reader is not None
        (ours,) = reader.blocks()
    theirs, _ = soundfile.read(
        path,
        dtype="float32",
        format="RAW",
        subtype=form.upper(),
        samplerate=RATE_HZ,
        channels=1,
        always_2d=True,
    )
    np.testing.assert_array_equal(ours, theirs)


def test_mp3_in_blocks_is_what_it_is_in_one_piece(tmp_path: Path) -> None:
    """Libsndfile 1.2.2 garbles it at the seams."""
    samples = tone(160_000, 2)
    decoded, _, _ = _decoded(tmp_path, by_sndfile(samples, "MP3"))
    assert len(decoded) == len(samples)
    assert np.abs(decoded - samples).max() < 0.05


@pytest.mark.parametrize("in_front", [b"", b"\0" * 700, bytes(range(256)) * 4, b"\xff" * 50])
def test_mp3_is_found_behind_what_is_none(tmp_path: Path, in_front: bytes) -> None:
    """Recorders cut streams anywhere."""
    mp3 = by_sndfile(tone(40_000), "MP3")
    decoded, info, _ = _decoded(tmp_path, in_front + mp3)
    assert info.codec == "mp3"
    assert len(decoded) == 40_000


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"\xff\xfb\x90\x00" * 4_000, "slin"),
        (b"\xff\xff\xff\xfb" * 4_000, "ulaw"),
        (b"\xff\xf1\x50\x80" * 4_000, "alaw"),
    ],
)
def test_without_a_header_two_bytes_make_no_mp3(tmp_path: Path, content: bytes, encoding: str) -> None:
    """The quietest mu-law sounds are the bytes that an MP3 frame begins with."""
    _, info, _ = _decoded(tmp_path, content, Encoding(encoding))  # type: ignore[arg-type]
    assert info.container == "raw"


@pytest.mark.parametrize("form", ["libsndfile", "plain"])
@pytest.mark.parametrize("length", [0, 0xFFFF_FFFF, 0xFFFF_1000])
def test_a_left_open_length_is_read_to_the_end(tmp_path: Path, form: str, length: int) -> None:
    """Whoever decodes: GSM by libsndfile, mu-law by ourselves."""
    content = bytearray(by_sndfile(tone(16_000), "WAV", {"libsndfile": "GSM610", "plain": "ULAW"}[form]))
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", length)
    content[4:8] = bytes(4)
    samples, _, warnings = _decoded(tmp_path, bytes(content))
    assert len(samples) == 16_000
    assert [warning.code for warning in warnings] == ["length_unknown"]


def test_a_chunk_length_that_leads_astray_is_no_obstacle(tmp_path: Path) -> None:
    """The samples are found by the name that stands before them."""
    content = bytearray(by_sndfile(tone(16_000), "WAV", "ULAW"))
    content[16:20] = struct.pack("<I", 0x7F00_0012)
    samples, _, _ = _decoded(tmp_path, bytes(content))
    assert len(samples) == 16_000


def test_flac_whose_first_frame_is_damaged_keeps_its_place(tmp_path: Path) -> None:
    content, frames = _long("FLAC-PCM_16")
    first = content.index(b"\xff\xf8")
    whole, _, _ = _decoded(tmp_path, content)
    samples, _, warnings = _decoded(tmp_path, content[: first + 100] + bytes(100) + content[first + 200 :])
    assert len(samples) == frames
    assert [warning.code for warning in warnings] == ["damaged"]
    assert not samples[:4_096].any()
    np.testing.assert_array_equal(samples[4_096:], whole[4_096:])


def test_what_stands_behind_the_samples_is_not_heard(tmp_path: Path) -> None:
    """Full-scale noise behind the length that the header has."""
    noise = np.random.default_rng(0).bytes(10_000)
    samples, info, warnings = _decoded(tmp_path, by_sndfile(tone(16_000), "WAV", "PCM_16") + noise)
    assert (len(samples), info.bytes) == (16_000, 44 + 32_000 + 10_000)
    assert np.abs(samples).max() < 0.41
    assert warnings == ()


def test_samples_beyond_four_gigabytes_are_found(tmp_path: Path) -> None:
    """RF64 whose samples begin behind 4 GB, on a disk that stores no zeros."""
    path = tmp_path / "long.wav"
    skipped, data = 0xFFFF_FFF0, b"\x34\x12" * 4_000
    fmt = struct.pack("<HHIIHH", 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    with path.open("wb") as file:
        file.write(struct.pack("<4sI4s", b"RF64", 0xFFFF_FFFF, b"WAVE"))
        file.write(struct.pack("<4sIQQQI", b"ds64", 28, skipped + 8_096, len(data), 4_000, 0))
        file.write(struct.pack("<4sI", b"fmt ", 16) + fmt + struct.pack("<4sI", b"JUNK", skipped))
        file.seek(skipped, os.SEEK_CUR)
        file.write(struct.pack("<4sI", b"data", 0xFFFF_FFFF) + data)
    with opened(Source(path), limits=Limits()) as recording:
        assert recording.promised_frames == 4_000
        first = next(recording.blocks())
    assert (first == np.float32(0x1234 / 32_768)).all()


@pytest.mark.parametrize("form", ["slin", "ulaw"])
def test_a_very_long_file_is_told_by_its_size(tmp_path: Path, form: str) -> None:
    path = tmp_path / "long.raw"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    source = Source(path, encoding=Encoding(form, 48_000, 1))  # type: ignore[arg-type]
    frames = (5 << 30) // (2 if form == "slin" else 1)
    limits = Limits(max_duration_s=1e6, max_samples=frames)
    assert probe_duration_s(source, limits=limits) == frames / 48_000
    with pytest.raises(TooLong):
        probe_duration_s(source, limits=Limits(max_duration_s=1e6, max_samples=frames - 1))


COMPRESSED = ["FLAC-PCM_16", "OGG-VORBIS", "OGG-OPUS", "MP3-MPEG_LAYER_III", "webm-libopus", "matroska-flac"]


def _long(name: str) -> tuple[bytes, int]:
    """Noise, which no coder makes small: many pages, many frames. Matroska has clusters of 5 s: 30 s, others 10 s."""
    is_matroska = name.startswith(("webm", "matroska"))
    frames = 240_000 if is_matroska else 80_000
    samples = np.random.default_rng(0).normal(0, 0.05, (frames, 1)).astype(np.float32)
    if is_matroska:
        muxer, encoder = name.split("-")
        rate_hz = 48_000 if encoder == "libopus" else RATE_HZ
        wide = np.repeat(samples, rate_hz // RATE_HZ, axis=0)
        return by_ffmpeg(wide, muxer, encoder, rate_hz), 30 * rate_hz
    container, subtype = name.split("-")
    return by_sndfile(samples, container, subtype), frames


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("damage", ["zeros", "noise", "missing"])
def test_damage_in_the_middle_costs_no_more_than_itself(tmp_path: Path, name: str, damage: str) -> None:
    """And is told; what follows keeps its place wherever the format has times."""
    content, frames = _long(name)
    middle = len(content) // 2
    put = {"zeros": bytes(1_500), "noise": np.random.default_rng(1).bytes(1_500), "missing": b""}[damage]
    decoded, _, warnings = _decoded(tmp_path, content[:middle] + put + content[middle + 1_500 :])
    codes = {warning.code for warning in warnings}
    assert codes & {"damaged", "gaps", "truncated"}
    has_times = not name.startswith("MP3")
    assert len(decoded) == pytest.approx(frames, rel=0.001 if has_times else 0.1)
    quarter = len(decoded) // 10
    assert np.sqrt(np.mean(decoded[:quarter] ** 2)) == pytest.approx(0.045, rel=0.3)
    assert np.sqrt(np.mean(decoded[-quarter:] ** 2)) == pytest.approx(0.045, rel=0.3)


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path: Path, name: str, kept: float) -> None:
    content, frames = _long(name)
    decoded, _, warnings = _decoded(tmp_path, content[: int(len(content) * kept)])
    assert "truncated" in {warning.code for warning in warnings}
    # Up to two pages or clusters are lost.
    assert frames * kept - 2.6 * RATE_HZ <= len(decoded) <= frames * kept * 1.25


def test_a_silent_stretch_of_a_browser_keeps_its_length(tmp_path: Path) -> None:
    """WebM without the packets of one second, as a browser leaves them out while nobody speaks."""
    import av  # noqa: PLC0415  (here alone is it used directly)

    whole, path = by_ffmpeg(tone(240_000, 1, 48_000), "webm", "libopus", 48_000), tmp_path / "gap.webm"
    (tmp_path / "whole.webm").write_bytes(whole)
    with av.open(tmp_path / "whole.webm") as read, av.open(path, "w", format="webm") as written:
        stream = written.add_stream_from_template(read.streams.audio[0])
        for packet in read.demux(audio=0):
            if packet.pts is not None and not 2_000 <= packet.pts < 3_000:
                packet.stream = stream
                written.mux(packet)
    decoded, _, warnings = _decoded(tmp_path, path.read_bytes())
    assert len(decoded) == pytest.approx(240_000, abs=960)
    assert [warning.code for warning in warnings] == ["gaps"]
    assert "1.0 s" in warnings[0].message
    assert not decoded[100_000:140_000].any()


def test_only_damaged_ogg_pages_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "call.opus"
    content, _ = _long("OGG-OPUS")
    path.write_bytes(content)
    with InputFile(Source(path)) as file:
        assert ogg_lost_ticks(file) == 0
    third = [at for at in range(len(content)) if content.startswith(b"OggS", at)][3]
    path.write_bytes(content[: third + 40] + b"\0" + content[third + 41 :])
    with InputFile(Source(path)) as file:
        assert ogg_lost_ticks(file) == pytest.approx(48_000, rel=0.05)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"#EXTM3U\nhttp://127.0.0.1:9/a.mp3\n", Undecodable),
        (b"ffconcat version 1.0\nfile '/etc/hostname'\n", Undecodable),
        (b"[playlist]\nFile1=/etc/hostname\n", Undecodable),
        (b"<?xml version='1.0'?><MPD><BaseURL>file:///etc/hostname</BaseURL></MPD>", Undecodable),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n", Undecodable),
        (b"\x1aE\xdf\xa3" + bytes(1_000), Undecodable),
        (b"\0\0\0\x20ftypM4A " + bytes(1_000), Undecodable),
        (b"#!AMR\n", NoAudio),
        (amr_wb(10)[:8], Undecodable),
        (wav_of(0x1234, bytes(1_000), block_bytes=1, bytes_per_s=8_000), RecordingError),
        (by_ffmpeg(tone(48_000, 1, 48_000), "matroska", "ac3", 48_000), UnsupportedCodec),
    ],
)
def test_what_is_no_recording_opens_nothing(
    tmp_path: Path, content: bytes, error: type[RecordingError]
) -> None:
    """No playlist, no address, no other file, whatever it is called; and no codec that is not listed."""
    with pytest.raises(error) as refused:
        _decoded(tmp_path, content)
    assert str(refused.value).endswith(".")


def test_headerless_g722_is_mono(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedChannels):
        _decoded(tmp_path, bytes(1_000), Encoding("g722", channels=2))


def test_a_stream_without_a_length_is_stopped_at_the_limit(tmp_path: Path) -> None:
    """AMR has no length in its header, and a byte of it may be 20 ms."""
    content = b"#!AMR\n" + b"\x7c" * 100_000
    with pytest.raises(TooLong, match="more than 60 s"):
        _decoded(tmp_path, content, limits=Limits(max_duration_s=60.0))


def test_what_telephones_leave_out_of_amr_keeps_its_time(tmp_path: Path) -> None:
    """Frames of "nothing said" (RFC 4867, type 15) stand for 20 ms each."""
    spoken = by_ffmpeg(tone(8_000), "amr", "libopencore_amrnb")
    decoded, _, warnings = _decoded(tmp_path, spoken + b"\x7c" * 100 + spoken[6:])
    assert len(decoded) == (50 + 1 + 100 + 50 + 1) * 160
    assert warnings == ()
    assert np.abs(decoded[-8_000:]).max() > 0.3


@pytest.mark.parametrize("name", ["amr-libopencore_amrnb", "adts-aac"])
def test_a_cut_stream_without_a_length_says_that_it_is_cut(tmp_path: Path, name: str) -> None:
    file = next(file for file in FILES if file.name == name)
    _, _, warnings = _decoded(tmp_path, file.content[:-9])
    assert [warning.code for warning in warnings] == ["truncated"]
    assert "cannot be told" in warnings[0].message


def test_more_than_one_track_is_told(tmp_path: Path) -> None:
    import av  # noqa: PLC0415  (here alone is it used directly)

    path = tmp_path / "two.mka"
    path.write_bytes(by_ffmpeg(tone(16_000), "matroska", "flac"))
    with av.open(path) as read, av.open(tmp_path / "both.mka", "w", format="matroska") as written:
        streams = [written.add_stream_from_template(read.streams.audio[0]) for _ in range(2)]
        for packet in list(read.demux(audio=0)):
            if packet.pts is not None:
                packet.stream = streams[0]
                written.mux(packet)
    _, _, warnings = _decoded(tmp_path, (tmp_path / "both.mka").read_bytes())
    assert [warning.code for warning in warnings] == ["tracks_ignored"]


@pytest.mark.parametrize(
    "name", ["WAV-ULAW", "WAV-GSM610", "FLAC-PCM_16", "webm-libopus", "MP3-MPEG_LAYER_III"]
)
def test_a_disk_that_fails_is_no_fault_of_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Libsndfile and FFmpeg read through callbacks, and would call it the end of the file."""
    file = next(file for file in FILES if file.name == name)
    pread = os.pread

    def failing(descriptor: int, length: int, offset: int) -> bytes:
        if offset + length > 8_192:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return pread(descriptor, length, offset)

    monkeypatch.setattr("dsp.input_file.os.pread", failing)
    with pytest.raises(OSError, match="Input/output error"):
        _decoded(tmp_path, file.content)


def test_a_window_shows_a_part_with_its_patches(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_bytes(b"abcdefghij")
    with InputFile(Source(path)) as file:
        part = window(file, 2, 6, {1: b"XY", 5: b"ZZ"})
        assert part.read() == b"cXYfgZ"
        part.seek(2)
        assert part.read(2) == b"Yf"
        assert part.seek(0, os.SEEK_END) == 6
        assert window(file, 8).read() == b"ij"


def test_plain_recordings_load_no_decoder() -> None:
    """FFmpeg costs memory and a fifth of a second, libsndfile less; mu-law in WAV needs neither."""
    code = "import dsp.decode, dsp.encode, sys; print({'av', 'soundfile', 'soxr', 'scipy'}.intersection(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert ran.stdout.strip() == "set()"
