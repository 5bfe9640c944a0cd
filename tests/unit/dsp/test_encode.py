"""Encoding: whole or not at all, the same bytes every time, and nothing moved in time."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings

from dsp import Limits, Source, encode_pcm
from dsp.audio import Samples
from dsp.decode import opened
from dsp.encode import Encoder
from dsp.encode_pcm import quantized
from dsp.errors import UnsupportedChannels
from dsp.formats import ENCODINGS, LOSSY_FORMATS

EXACT = [(form, encoding) for form in ENCODINGS for encoding in ENCODINGS[form]]
STEP = {"pcm_16": 2.0**-15, "pcm_24": 2.0**-23}


def _speechlike(frames: int, channels: int, seed: int = 0) -> Samples:
    samples: Samples = np.random.default_rng(seed).normal(0, 0.2, (frames, channels)).astype(np.float32)
    return samples


def _written(
    path: Path,
    samples: Samples,
    cuts: tuple[int, ...] = (),
    *,
    rate_hz: int = 8_000,
    encoding: str | None = None,
    bit_rate_kbps: int | None = None,
) -> tuple[Encoder, Samples]:
    with Encoder(
        path,
        format=path.suffix[1:],
        sample_rate_hz=rate_hz,
        channels=samples.shape[1],
        encoding=encoding,
        bit_rate_kbps=bit_rate_kbps,
    ) as encoder:
        given_back = [encoder.write(block) for block in np.split(samples, cuts)]
    return encoder, np.concatenate(given_back)


def _all_written(path: Path, blocks: Iterable[Samples]) -> None:
    with Encoder(path, format=path.suffix[1:], sample_rate_hz=8_000, channels=2) as encoder:
        for block in blocks:
            encoder.write(block)


def _read(path: Path) -> tuple[Samples, int]:
    with opened(Source(path), limits=Limits()) as recording:
        samples = np.concatenate(list(recording.blocks()))
        assert recording.warnings == ()
        return samples, recording.sample_rate_hz


@pytest.mark.parametrize(("form", "encoding"), EXACT)
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_what_write_gives_is_what_a_reader_sees(
    tmp_path: Path, form: str, encoding: str, channels: int
) -> None:
    """To the bit; ours and libsndfile alike."""
    path = tmp_path / f"out.{form}"
    samples = _speechlike(20_001, channels) * 3.0
    encoder, given_back = _written(path, samples, (1, 1, 8_000), encoding=encoding)
    assert encoder.exact
    assert given_back.dtype == np.float32
    np.testing.assert_array_equal(_read(path)[0], given_back)
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32", always_2d=True)[0], given_back)
    assert encoder.frames == 20_001
    assert encoder.clipped == (np.abs(samples) > 1.0).sum() > 0
    assert (encoder.sha256, encoder.bytes) == (
        hashlib.sha256(path.read_bytes()).hexdigest(),
        path.stat().st_size,
    )


@pytest.mark.parametrize(("form", "encoding"), EXACT)
@settings(max_examples=25)
@given(cuts=st.lists(st.integers(0, 9_000), max_size=6).map(sorted))
def test_how_the_stream_is_cut_changes_no_byte(
    tmp_path_factory: pytest.TempPathFactory, form: str, encoding: str, cuts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"out.{form}"
    samples = _speechlike(9_000, 2)
    whole, _ = _written(path, samples, encoding=encoding)
    in_pieces, _ = _written(path, np.asfortranarray(samples), tuple(cuts), encoding=encoding)
    assert in_pieces.sha256 == whole.sha256


@pytest.mark.parametrize("form", [*ENCODINGS, *LOSSY_FORMATS])
def test_frame_by_frame_gives_the_same_bytes(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    samples = _speechlike(3_000, 2)
    assert _written(path, samples)[0].sha256 == _written(path, samples, tuple(range(3_000)))[0].sha256


@pytest.mark.parametrize("encoding", sorted(STEP))
@given(level=st.floats(-1.0, 1.0, width=32))
def test_rounding_is_never_off_by_more_than_half_a_step(encoding: str, level: float) -> None:
    bits = {"pcm_16": 16, "pcm_24": 24}[encoding]
    steps = quantized(np.full((1, 1), level, dtype=np.float32), bits)
    full_scale_lost = STEP[encoding] if level > 1.0 - STEP[encoding] else 0.0
    assert abs(float(steps[0, 0]) * STEP[encoding] - level) <= STEP[encoding] / 2 + full_scale_lost
    assert -(2 ** (bits - 1)) <= steps[0, 0] <= 2 ** (bits - 1) - 1


def test_mu_law_rounds_as_g_711_says(tmp_path: Path) -> None:
    """Each of its 255 values stays what it is, and no sample moves by more than half a step of the wider neighbour."""
    path = tmp_path / "out.wav"
    loudest = 32_635  # what lies above is clipped to the last value (ITU-T G.711, table 2a)
    every = np.arange(-loudest, loudest + 1)
    samples = (every / 32_768.0).astype(np.float32)[:, None]
    _, given_back = _written(path, samples, encoding="mulaw")
    values = np.unique(given_back)
    assert len(values) == 255
    np.testing.assert_array_equal(_written(path, values[:, None], encoding="mulaw")[1][:, 0], values)
    steps = np.diff(values)
    wider = np.maximum(np.append(steps, 1024 / 32_768), np.insert(steps, 0, 1024 / 32_768))
    moved = np.abs(samples - given_back)[:, 0]
    assert (moved <= wider[np.searchsorted(values, given_back[:, 0])] / 2).all()
    assert (np.diff(given_back[:, 0]) >= 0).all()


@pytest.mark.parametrize(("form", "encoding"), EXACT)
def test_silence_stays_silence(tmp_path: Path, form: str, encoding: str) -> None:
    path = tmp_path / f"out.{form}"
    _, given_back = _written(path, np.zeros((5_000, 2), dtype=np.float32), encoding=encoding)
    assert not given_back.any()
    assert not _read(path)[0].any()


@pytest.mark.parametrize("encoding", ENCODINGS["wav"])
@pytest.mark.parametrize("frames", [4_000, 4_001])
def test_a_wav_that_outgrows_32_bits_becomes_rf64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, frames: int
) -> None:
    """EBU Tech 3306; the limit of 4 GB is lowered, so that the test is not that long."""
    samples = _speechlike(frames, 1)
    _, plain = _written(tmp_path / "plain.wav", samples, encoding=encoding)
    monkeypatch.setattr(encode_pcm, "_RIFF_MOST", 3_999)
    path = tmp_path / "long.wav"
    _, given_back = _written(path, samples, encoding=encoding)
    np.testing.assert_array_equal(given_back, plain)
    np.testing.assert_array_equal(_read(path)[0], given_back)
    with soundfile.SoundFile(path) as file:
        assert (file.format, file.frames) == ("RF64", frames)


@pytest.mark.parametrize("form", LOSSY_FORMATS)
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000, 9_600])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_lossy_file_has_no_delay_and_the_same_length(
    tmp_path: Path, form: str, rate_hz: int, channels: int
) -> None:
    """What the encoder puts in front and behind, the file says, and every decoder takes away."""
    frames = round(1.2345 * rate_hz)
    impulse_at = frames // 2
    samples = _speechlike(frames, channels) * np.float32(1e-3)
    samples[impulse_at] = 0.9
    path = tmp_path / f"out.{form}"
    encoder, _ = _written(path, samples, rate_hz=rate_hz)
    decoded, decoded_rate_hz = _read(path)
    assert not encoder.exact
    assert decoded_rate_hz == encoder.sample_rate_hz >= rate_hz
    ratio = encoder.sample_rate_hz / rate_hz
    assert len(decoded) == pytest.approx(frames * ratio, abs=0 if ratio == 1 else 1)
    for channel in range(channels):
        assert np.abs(decoded[:, channel]).argmax() == pytest.approx(impulse_at * ratio, abs=1)


@pytest.mark.parametrize("form", LOSSY_FORMATS)
def test_one_party_is_not_heard_in_the_channel_of_the_other(tmp_path: Path, form: str) -> None:
    """Encoders like to store the sum and the difference; a silent party would then get the other's noise."""
    samples = _speechlike(16_000, 2)
    samples[:, 1] = 0.0
    path = tmp_path / f"out.{form}"
    _written(path, samples)
    decoded, _ = _read(path)
    heard, silent = np.sqrt(np.mean(decoded[4_000:-4_000] ** 2, axis=0))
    assert 20 * np.log10(silent / heard + 1e-9) < {"mp3": -90, "m4a": -90, "opus": -45}[form]


@pytest.mark.parametrize("form", LOSSY_FORMATS)
def test_the_bit_rate_is_what_was_asked_for(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    sizes = [
        _written(path, _speechlike(80_000, 1), bit_rate_kbps=kbps)[0].bytes * 8 / 10_000 for kbps in (16, 40)
    ]
    assert sizes == pytest.approx([16, 40], rel=0.25)


@pytest.mark.parametrize("form", [*ENCODINGS, *LOSSY_FORMATS])
def test_nothing_is_a_file_too(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    encoder, _ = _written(path, np.zeros((0, 2), dtype=np.float32))
    assert (encoder.frames, encoder.clipped) == (0, 0)
    assert path.stat().st_size == encoder.bytes
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("form", [*ENCODINGS, *LOSSY_FORMATS])
def test_an_error_leaves_what_was_there_before(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    path.write_bytes(b"of the last run")

    def blocks() -> Iterator[Samples]:
        yield _speechlike(20_000, 2)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        _all_written(path, blocks())
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"of the last run"


@pytest.mark.parametrize("form", [*ENCODINGS, *LOSSY_FORMATS])
@pytest.mark.parametrize("room", [0, 5_000])
def test_a_full_disk_is_the_os_error_that_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], form: str, room: int
) -> None:
    """Libsndfile and FFmpeg write through callbacks, and libsndfile loses what they raise."""
    left = room
    write = os.write

    def on_a_small_disk(descriptor: int, content: memoryview) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, content[:left])
        left -= written
        return written

    monkeypatch.setattr("dsp.output_file.os.write", on_a_small_disk)
    path = tmp_path / f"out.{form}"
    with pytest.raises(OSError, match="No space left") as refused:
        _all_written(path, [_speechlike(20_000, 2)] * 20)
    assert refused.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("form", ["mp3", "m4a", "opus"])
def test_more_channels_than_a_format_holds_are_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"out.{form}"
    encoder = Encoder(path, format=form, sample_rate_hz=8_000, channels=3)
    with pytest.raises(UnsupportedChannels, match="3 channels"):
        encoder.__enter__()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "aiff"},
        {"format": "flac", "encoding": "mulaw"},
        {"format": "mp3", "encoding": "pcm_16"},
        {"format": "wav", "bit_rate_kbps": 64},
    ],
)
def test_what_no_format_has_is_a_mistake_of_the_caller(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"format|encoding|bit_rate_kbps"):
        Encoder(tmp_path / "out", sample_rate_hz=8_000, channels=1, **wrong)  # type: ignore[arg-type]
