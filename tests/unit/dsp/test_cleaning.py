"""One recording in, renditions and a report out."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.signal import resample

import dsp
from dsp import ChannelInfo, CleanReport, MeasureReport, Pause, ResolvedChain, Source
from dsp.audio import Samples
from tests.support.recordings import TelephoneCall

RATE_HZ = 8_000
PARTIES = (ChannelInfo("agent", "Kim"), ChannelInfo("customer"))

# The keys of the public report, as other programs read them.
LOUDNESS = {
    "integrated_lufs",
    "loudness_range_lu",
    "momentary_max_lufs",
    "short_term_max_lufs",
    "true_peak_dbtp",
}
PROGRAMME = LOUDNESS | {"silence_share"}
CHANNEL = PROGRAMME | {
    "index",
    "role",
    "sample_peak_dbfs",
    "speech_level_dbfs",
    "noise_floor_dbfs",
    "snr_db",
    "active_speech_level_dbfs",
    "activity_factor",
    "dc_offset",
    "clipped_samples",
    "clipping_runs",
    "dropouts",
    "dropout_s",
    "speech_s",
}
INPUT = {
    "path",
    "sha256",
    "bytes",
    "container",
    "codec",
    "sample_rate_hz",
    "channels",
    "frames",
    "duration_s",
}
RENDITION = {
    "name",
    "path",
    "format",
    "sample_rate_hz",
    "channels",
    "frames",
    "sha256",
    "bytes",
    "after",
}
REPORT = {"input", "chain", "before", "renditions", "warnings", "engine", "timing"}


EXAMPLES = Path(__file__).parents[3] / "examples"


def _spoken(name: str = "appointment", seconds: float = 8.0) -> Samples:
    """Two voices of an example call."""
    frames = round(seconds * RATE_HZ)
    samples: Samples = soundfile.read(EXAMPLES / f"{name}.wav", frames, dtype="float32", always_2d=True)[0]
    return samples


def _call(seconds: float = 6.0, seed: int = 1) -> Samples:
    return TelephoneCall(call_id="c", seed=seed, frames=round(seconds * RATE_HZ)).samples()


def _source(
    tmp_path: Path,
    samples: Samples | None = None,
    *,
    subtype: str = "ULAW",
    rate_hz: int = RATE_HZ,
    **told: Any,
) -> Source:
    path = tmp_path / "call.wav"
    soundfile.write(path, _call() if samples is None else samples, rate_hz, subtype=subtype)
    return Source(path, **{"channels": PARTIES} | told)


def _chain(spec: dict[str, Any] | None = None, **told: Any) -> ResolvedChain:
    file = (
        dsp.shipped_chain_file()
        if spec is None
        else dsp.load_chain_file(json.dumps({"version": 1, "chains": {"mine": spec}}), origin="mine.json")
    )
    return file.resolve(**{"named_roles": True} | told)


def _clean(tmp_path: Path, source: Source, chain: ResolvedChain | None = None) -> CleanReport:
    out_dir = tmp_path / "out"
    out_dir.mkdir(exist_ok=True)
    return dsp.clean(source, chain or _chain(), out_dir)


def _read(report: CleanReport, name: str) -> Samples:
    path = next(rendition.path for rendition in report.renditions if rendition.name == name)
    samples: Samples = soundfile.read(path, dtype="float32", always_2d=True)[0]
    return samples


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from _numbers(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _numbers(entry)
    elif isinstance(value, float):
        yield value


def test_the_report_has_every_key_of_the_interface(tmp_path: Path) -> None:
    told = _clean(tmp_path, _source(tmp_path)).to_json()
    assert set(told) == REPORT
    assert set(told["input"]) == INPUT
    assert set(told["chain"]) == {"name", "digest"}
    assert set(told["before"]) == {"programme", "channels"}
    assert set(told["before"]["programme"]) == PROGRAMME
    assert [set(channel) for channel in told["before"]["channels"]] == [CHANNEL, CHANNEL]
    assert [(channel["index"], channel["role"]) for channel in told["before"]["channels"]] == [
        (0, "agent"),
        (1, "customer"),
    ]
    for rendition in told["renditions"]:
        assert set(rendition) == RENDITION
        assert set(rendition["after"]["programme"]) == PROGRAMME
        for channel in rendition["after"]["channels"]:
            assert set(channel) == CHANNEL | {"denoise"}
            assert set(channel["denoise"]) == {"method", "applied", "reason"}
    assert set(told["engine"]) == {"output_version", "dsp"}
    assert set(told["timing"]) == {"wall_s", "cpu_s", "realtime_factor", "stages_s"}
    assert set(told["timing"]["stages_s"]) == {
        *("decode", "measure", "scratch", "denoise", "normalize", "limit", "encode")
    }


def test_the_report_survives_json(tmp_path: Path) -> None:
    report = _clean(tmp_path, _source(tmp_path))
    assert CleanReport.from_json(json.loads(json.dumps(report.to_json(), allow_nan=False))) == report
    measured = dsp.measure(_source(tmp_path))
    assert MeasureReport.from_json(json.loads(json.dumps(measured.to_json(), allow_nan=False))) == measured
    assert measured.before == report.before


def test_outputs_have_the_inputs_frames_and_rate_and_are_what_the_report_says(tmp_path: Path) -> None:
    report = _clean(tmp_path, _source(tmp_path))
    assert [(r.name, r.format) for r in report.renditions] == [("listen", "flac"), ("asr", "wav")]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["asr.wav", "listen.flac"]
    for rendition in report.renditions:
        content = Path(rendition.path).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (rendition.sha256, rendition.bytes)
        with soundfile.SoundFile(rendition.path) as file:
            assert (file.frames, file.samplerate, file.channels) == (report.input.frames, RATE_HZ, 2)
            assert (file.format.lower(), file.subtype) == (rendition.format, "PCM_16")


def test_the_original_is_not_touched(tmp_path: Path) -> None:
    source = _source(tmp_path)
    before = source.path.read_bytes()
    report = _clean(tmp_path, source)
    assert source.path.read_bytes() == before
    assert report.input.sha256 == hashlib.sha256(before).hexdigest()


def test_the_same_recording_and_chain_give_the_same_bytes(tmp_path: Path) -> None:
    source = _source(tmp_path)
    first, second = (_clean(tmp_path, source) for _ in range(2))
    assert [r.sha256 for r in first.renditions] == [r.sha256 for r in second.renditions]
    assert [r.after for r in first.renditions] == [r.after for r in second.renditions]


def test_some_renditions_are_the_same_as_among_all(tmp_path: Path) -> None:
    source, chain = _source(tmp_path), _chain()
    every, one = _clean(tmp_path, source, chain), _clean(tmp_path, source, chain.only(["asr"]))
    assert [r.name for r in one.renditions] == ["asr"]
    assert one.renditions[0].sha256 == every.renditions[1].sha256
    assert one.chain == every.chain


def _at_the_target_and_under_the_ceiling(report: CleanReport) -> None:
    assert [warning.code for warning in report.warnings] == []
    for rendition in report.renditions:
        for channel in rendition.after.channels:
            assert channel.integrated_lufs == pytest.approx(-16.0, abs=0.02)
            assert channel.true_peak_dbtp is not None
            assert channel.true_peak_dbtp < -1.5


@pytest.mark.parametrize("seed", range(4))
def test_each_party_is_at_the_target_and_under_the_ceiling(tmp_path: Path, seed: int) -> None:
    """Whatever its level was."""
    source = _source(tmp_path, _call(8.0, seed))
    _at_the_target_and_under_the_ceiling(_clean(tmp_path, source, _chain().only(["asr"])))


@pytest.mark.parametrize("name", ["appointment", "parcel"])
def test_so_is_each_party_after_denoising(tmp_path: Path, name: str) -> None:
    """A noisy call and a clean one."""
    _at_the_target_and_under_the_ceiling(_clean(tmp_path, _source(tmp_path, _spoken(name))))


def test_a_target_that_is_missed_is_told(tmp_path: Path) -> None:
    """A party that is too quiet for ``max_gain_db``."""
    spec = {"stages": [{"normalize": {"max_gain_db": 20}}, "limit"], "renditions": {"asr": {"format": "wav"}}}
    report = _clean(
        tmp_path, _source(tmp_path, _call() * np.array([0.02, 1.0], dtype=np.float32)), _chain(spec)
    )
    assert [(warning.code, warning.channel) for warning in report.warnings] == [("target_missed", 0)]
    before, after = report.before.channels[0], report.renditions[0].after.channels[0]
    assert before.integrated_lufs is not None
    assert after.integrated_lufs == pytest.approx(before.integrated_lufs + 20, abs=0.2)


def test_listen_is_denoised_where_there_is_noise_and_asr_is_not(tmp_path: Path) -> None:
    report = _clean(tmp_path, _source(tmp_path, _spoken(seconds=20.0)))
    listen, asr = report.renditions
    for before, quieter, same in zip(
        report.before.channels, listen.after.channels, asr.after.channels, strict=True
    ):
        assert before.snr_db is not None
        assert quieter.snr_db is not None
        assert same.snr_db is not None
        assert quieter.snr_db > before.snr_db + 4
        assert same.snr_db == pytest.approx(before.snr_db, abs=2.0)  # the limiter takes from speech only
        assert (quieter.denoise.method, quieter.denoise.applied) == ("rnnoise", True)
        assert quieter.denoise.reason == f"snr {before.snr_db:.1f} dB"
        assert (same.denoise.method, same.denoise.applied) == ("none", False)


def test_a_clean_call_passes_untouched_but_for_its_level(tmp_path: Path) -> None:
    """The denoiser keeps its hands off, and says why; the two renditions are the same."""
    report = _clean(tmp_path, _source(tmp_path, _spoken("parcel", 12.0)))
    for before, after in zip(report.before.channels, report.renditions[0].after.channels, strict=True):
        assert after.denoise.reason == f"snr {before.snr_db:.1f} dB: clean enough"
        assert (after.denoise.method, after.denoise.applied) == ("none", False)
    assert np.array_equal(_read(report, "listen"), _read(report, "asr"))


def test_renditions_with_the_same_stages_share_them(tmp_path: Path) -> None:
    """A listener's MP3 beside FLAC costs no second denoising."""
    spec = {
        "stages": ["denoise", "normalize", "limit"],
        "renditions": {"listen": {}, "wide": {"format": "wav", "encoding": "pcm_24"}},
    }
    report = _clean(tmp_path, _source(tmp_path, _spoken()), _chain(spec))
    flac, wav = _read(report, "listen"), _read(report, "wide")
    assert np.abs(flac - wav).max() <= 0.5 / 32_768


def test_without_named_roles_the_programme_is_levelled(tmp_path: Path) -> None:
    samples = _call()
    samples[:, 1] *= 0.1
    chain = _chain({"stages": ["normalize", "limit"]}, named_roles=False)
    report = _clean(tmp_path, _source(tmp_path, samples, channels=()), chain)
    for rendition in report.renditions:
        assert rendition.after.programme.integrated_lufs == pytest.approx(-16.0, abs=0.05)
        loud, quiet = (channel.integrated_lufs for channel in rendition.after.channels)
        assert loud is not None
        assert quiet is not None
        assert loud - quiet > 5
        assert [channel.role for channel in rendition.after.channels] == [None, None]


def test_split_gives_a_file_a_channel(tmp_path: Path) -> None:
    spec = {"stages": ["normalize", "limit"], "renditions": {"listen": {"layout": "split"}, "both": {}}}
    report = _clean(tmp_path, _source(tmp_path), _chain(spec))
    assert [Path(r.path).name for r in report.renditions] == ["listen-0.flac", "listen-1.flac", "both.flac"]
    together = _read(report, "both")
    for index, role in enumerate(["agent", "customer"]):
        assert np.array_equal(_read(report, f"listen-{index}")[:, 0], together[:, index])
        (channel,) = report.renditions[index].after.channels
        assert (report.renditions[index].channels, channel.role) == (1, role)


def test_a_mono_mix_has_both_parties_at_the_target(tmp_path: Path) -> None:
    spec = {"stages": ["normalize", "limit"], "renditions": {"mix": {"layout": "mono"}, "both": {}}}
    report = _clean(tmp_path, _source(tmp_path), _chain(spec))
    mix, both = _read(report, "mix"), _read(report, "both")
    assert mix.shape == (both.shape[0], 1)
    (channel,) = report.renditions[0].after.channels
    assert channel.role is None
    assert channel.integrated_lufs == pytest.approx(-16.0, abs=0.05)
    assert np.corrcoef(mix[:, 0], both.sum(axis=1))[0, 1] > 0.99


@pytest.mark.parametrize("layout", ["source", "mono", "split"])
@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 48_000])
def test_another_rate_has_the_length_that_belongs_to_it_and_no_delay(
    tmp_path: Path, rate_hz: int, layout: str
) -> None:
    spec = {"renditions": {"out": {"format": "wav", "layout": layout, "sample_rate_hz": rate_hz}}}
    samples = _call(2.5)[:-3]
    report = _clean(tmp_path, _source(tmp_path, samples, subtype="FLOAT"), _chain(spec))
    assert len(report.renditions) == (2 if layout == "split" else 1)
    expected = _resampled(samples, rate_hz)
    if layout == "mono":
        expected = expected.mean(axis=1, keepdims=True)
    heard = np.concatenate([_read(report, rendition.name) for rendition in report.renditions], axis=1)
    for rendition in report.renditions:
        assert rendition.sample_rate_hz == soundfile.info(rendition.path).samplerate == rate_hz
        assert rendition.frames == round(len(samples) * rate_hz / RATE_HZ)
    # Under 3.4 kHz: what lies nearer to half the rate a resampler may take away.
    assert _residual_db(expected, heard, rate_hz) < -60


def test_a_lower_rate_has_no_delay_either(tmp_path: Path) -> None:
    samples = _resampled(_call(2.5), 48_000)
    spec = {"renditions": {"out": {"format": "flac", "sample_rate_hz": 8_000}}}
    report = _clean(tmp_path, _source(tmp_path, samples, subtype="PCM_24", rate_hz=48_000), _chain(spec))
    assert report.renditions[0].frames == len(samples) // 6
    assert _residual_db(_call(2.5), _read(report, "out"), 8_000) < -60


def test_each_party_is_at_the_target_at_another_rate(tmp_path: Path) -> None:
    """Levelled after the resampler, so that it moves no peak over the ceiling."""
    stages = ["normalize", "limit"]
    spec = {"stages": stages, "renditions": {"out": {"format": "wav", "sample_rate_hz": 16_000}}}
    _at_the_target_and_under_the_ceiling(_clean(tmp_path, _source(tmp_path), _chain(spec)))


def _resampled(samples: Samples, rate_hz: int) -> Samples:
    """By its spectrum; the frames that a resampler gives."""
    padded = np.concatenate([samples, np.zeros((RATE_HZ - len(samples) % RATE_HZ, samples.shape[1]))])
    brought: Samples = resample(padded, len(padded) * rate_hz // RATE_HZ, axis=0).astype(np.float32)
    return brought[: round(len(samples) * rate_hz / RATE_HZ)]


def _residual_db(expected: Samples, heard: Samples, rate_hz: int) -> float:
    """Energy of the difference under 3.4 kHz and away from the ends, against that of the sound."""
    low = slice(None, 3_400 * (len(expected) - rate_hz // 5) // rate_hz)
    inner = slice(rate_hz // 10, len(expected) - rate_hz // 10)
    fade = np.hanning(len(expected[inner]))[:, None]
    difference, sound = (
        np.abs(np.fft.rfft(part[inner] * fade, axis=0))[low] for part in (heard - expected, expected)
    )
    return float(10 * np.log10(np.square(difference).sum() / np.square(sound).sum()))


LOSSY = {"mp3": "mp3", "m4a": "aac", "opus": "opus"}


@pytest.mark.parametrize("form", LOSSY)
def test_a_lossy_output_is_measured_as_it_is_decoded(tmp_path: Path, form: str) -> None:
    """And where it goes over the ceiling by that, the report says so."""
    spec = {"stages": ["normalize", "limit"], "renditions": {"out": {"format": form}}}
    report = _clean(tmp_path, _source(tmp_path, _spoken("hotel")), _chain(spec))
    (rendition,) = report.renditions
    assert (rendition.format, rendition.frames) == (form, report.input.frames)
    decoded = dsp.measure(Source(Path(rendition.path), channels=PARTIES))
    assert decoded.input.codec == LOSSY[form]
    after = rendition.after.to_json()
    for channel in after["channels"]:
        del channel["denoise"]
    assert after == decoded.before.to_json()
    assert rendition.after.programme.true_peak_dbtp is not None
    assert rendition.after.programme.true_peak_dbtp > -1.4
    assert [warning.code for warning in report.warnings] == ["over_ceiling"]


def test_mu_law_is_measured_as_it_is_decoded(tmp_path: Path) -> None:
    spec = {"stages": ["normalize"], "renditions": {"out": {"format": "wav", "encoding": "mulaw"}}}
    report = _clean(tmp_path, _source(tmp_path, _spoken()), _chain(spec))
    decoded = dsp.measure(Source(Path(report.renditions[0].path), channels=PARTIES))
    assert decoded.input.codec == "pcm_mulaw"
    assert decoded.before.programme == report.renditions[0].after.programme


def test_more_bits_a_second_make_a_longer_file(tmp_path: Path) -> None:
    spec = {"renditions": {f"at{kbps}": {"format": "mp3", "bit_rate_kbps": kbps} for kbps in (16, 64)}}
    low, high = _clean(tmp_path, _source(tmp_path), _chain(spec)).renditions
    assert high.bytes > 2 * low.bytes


def test_trimming_shortens_every_output_and_moves_the_pauses(tmp_path: Path) -> None:
    """Two seconds of silence before and after; what is muted is silent where it lies now."""
    silence = np.zeros((16_000, 2), dtype=np.float32)
    samples = np.concatenate([silence, _call(), silence])
    pauses = (Pause(4.0, 5.0),)
    spec = {"stages": ["trim"], "renditions": {"out": {}, "mix": {"layout": "mono"}}, "mute_pauses": True}
    source = _source(tmp_path, samples, pauses=pauses)
    report = _clean(tmp_path, source, _chain(spec, pauses=pauses))
    assert "trimmed" in [warning.code for warning in report.warnings]
    out, mix = (_read(report, name) for name in ("out", "mix"))
    assert len(out) == len(mix) < len(samples) - 16_000
    recorded: Samples = soundfile.read(source.path, dtype="float32")[0]
    recorded[32_000:40_000] = 0.0
    first = next(at for at in range(16_001) if np.array_equal(out, recorded[at : at + len(out)]))
    assert first > 8_000


@pytest.mark.parametrize(
    "stages", [["normalize", "limit"], [{"denoise": {"method": "spectral_gate"}}, "limit"], ["denoise"]]
)
def test_muted_pauses_are_silent_and_the_rest_is_there(tmp_path: Path, stages: list[Any]) -> None:
    pauses = (Pause(2.0, 3.5, "payment"), Pause(5.9, 60.0))
    chain = _chain({"stages": stages, "mute_pauses": True}, pauses=pauses)
    report = _clean(tmp_path, _source(tmp_path, pauses=pauses), chain)
    heard = _read(report, "listen")
    assert not heard[16_000:28_000].any()
    assert not heard[47_200:].any()
    assert heard[:16_000].any(axis=0).all()
    assert heard[28_000:47_200].any(axis=0).all()


def test_pauses_that_are_not_muted_are_heard_and_not_measured(tmp_path: Path) -> None:
    samples = _call()
    samples[16_000:32_000] = 0.9 * np.sign(np.sin(np.arange(16_000) * 0.8))[:, None]
    pause = (Pause(2.0, 4.0),)
    alone, paused = (
        dsp.measure(_source(tmp_path, samples, pauses=pauses)).before.channels[0] for pauses in ((), pause)
    )
    assert paused.integrated_lufs is not None
    assert alone.integrated_lufs is not None
    assert paused.integrated_lufs < alone.integrated_lufs - 5
    assert alone.sample_peak_dbfs == pytest.approx(-0.9, abs=0.2)
    assert paused.sample_peak_dbfs == pytest.approx(
        20 * math.log10(np.abs(np.delete(samples[:, 0], slice(16_000, 32_000))).max()), abs=0.3
    )
    report = _clean(
        tmp_path, _source(tmp_path, samples, pauses=pause), _chain({"stages": ["normalize", "limit"]})
    )
    assert report.renditions[0].after.channels[0].integrated_lufs == pytest.approx(-16.0, abs=0.05)
    assert _read(report, "listen")[20_000:30_000].any()


SILENT_KEYS = LOUDNESS | {"sample_peak_dbfs", "speech_level_dbfs", "noise_floor_dbfs", "snr_db"}


def test_a_silent_leg_is_silent_and_said_to_be(tmp_path: Path) -> None:
    samples = _call()
    samples[:, 1] = 0.0
    report = _clean(tmp_path, _source(tmp_path, samples), _chain().only(["asr"]))
    channel = report.before.channels[1]
    assert all(getattr(channel, key) is None for key in SILENT_KEYS)
    assert (channel.clipped_samples, channel.speech_s) == (0, 0.0)
    assert [(warning.code, warning.channel) for warning in report.warnings] == [("silent", 1)]
    for rendition in report.renditions:
        assert not _read(report, rendition.name)[:, 1].any()
        assert rendition.after.channels[0].integrated_lufs == pytest.approx(-16.0, abs=0.05)
    assert not report.renditions[0].after.channels[1].denoise.applied


SHORT_OR_QUIET = {
    "one frame": np.full((1, 2), 0.1, dtype=np.float32),
    "under 400 ms": _call(0.3),
    "under 3 s": _call(2.0),
    "all silent": np.zeros((40_000, 2), dtype=np.float32),
    "below -70 LUFS": (_call() * 1e-4).astype(np.float32),
    "full scale": np.sign(_call()).astype(np.float32),
}


@pytest.mark.parametrize("case", SHORT_OR_QUIET)
def test_every_null_has_its_warning_and_no_number_is_infinite(tmp_path: Path, case: str) -> None:
    samples = SHORT_OR_QUIET[case]
    report = _clean(tmp_path, _source(tmp_path, samples, subtype="PCM_16"))
    told = report.to_json()
    assert all(math.isfinite(number) for number in _numbers(told))
    warned = {warning["channel"] for warning in told["warnings"]}
    measured = [told["before"], *(rendition["after"] for rendition in told["renditions"])]
    for channel in (channel for part in measured for channel in part["channels"]):
        if None in [channel[key] for key in SILENT_KEYS]:
            assert channel["index"] in warned
    for rendition in report.renditions:
        assert rendition.frames == samples.shape[0]


def test_clipping_is_counted_where_it_is_flat(tmp_path: Path) -> None:
    """A clipped sine has flat tops at full scale; a loud one that just touches it has none."""
    wave = np.sin(2 * np.pi * 100 * np.arange(16_000) / RATE_HZ)
    samples = np.stack([np.clip(2 * wave, -1, 1), 0.999 * wave], axis=1).astype(np.float32)
    clipped, loud = dsp.measure(_source(tmp_path, samples, subtype="PCM_16")).before.channels
    assert clipped.clipped_samples > 5_000
    assert loud.clipped_samples == 0


def test_a_chain_without_a_limiter_says_what_it_clipped(tmp_path: Path) -> None:
    samples = _call()
    samples[::4_000] = 0.9
    report = _clean(tmp_path, _source(tmp_path, samples), _chain({"stages": ["normalize"]}))
    assert "clipped" in [warning.code for warning in report.warnings]


def test_a_chain_of_another_output_version_is_told(tmp_path: Path) -> None:
    chain = _chain({"stages": ["normalize", "limit"]}).model_copy(update={"output_version": 0})
    assert [w.code for w in _clean(tmp_path, _source(tmp_path), chain).warnings] == ["output_version"]


def test_what_decoding_warns_of_is_in_the_report(tmp_path: Path) -> None:
    source = _source(tmp_path)
    os.truncate(source.path, source.path.stat().st_size // 2)
    assert _clean(tmp_path, source).warnings[0].code == "truncated"


@pytest.mark.parametrize("room", [50_000, 150_000])
@pytest.mark.parametrize("layout", ["source", "split"])
def test_an_output_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, layout: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is an OSError, and no half of a file is left under any name: neither scratch nor output."""
    source, out_dir = _source(tmp_path), tmp_path / "out"
    left = {"bytes": room}
    write = os.write

    def filling(file: int, content: Any) -> int:
        left["bytes"] -= len(content)
        if left["bytes"] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, content)

    monkeypatch.setattr(os, "write", filling)
    spec = {"renditions": {"out": {"format": "wav", "layout": layout}}}
    with pytest.raises(OSError, match="No space left"):
        _clean(tmp_path, source, _chain(spec))
    assert list(out_dir.iterdir()) == []


def test_nothing_but_outputs_is_left_in_the_folder(tmp_path: Path) -> None:
    report = _clean(tmp_path, _source(tmp_path, _spoken()))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["asr.wav", "listen.flac"]
    assert len(report.renditions) == 2


def test_importing_dsp_loads_nothing_that_computes() -> None:
    """A worker's parent reads chains and reports; scipy and noisereduce stay in its children."""
    script = (
        "import sys, dsp; dsp.shipped_chain_file().resolve().digest; "
        "print([name for name in ('scipy', 'noisereduce', 'soundfile', 'joblib', 'av', 'soxr') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert loaded.stdout.strip() == "[]"


def test_the_shipped_chain_runs_without_what_is_large_and_slow_to_load(tmp_path: Path) -> None:
    """Of a clean call, a noisy one, and WAV out: scipy, noisereduce and FFmpeg are for chains that ask for them."""
    spec = {"stages": ["denoise", "normalize", "limit"], "renditions": {"listen": {"format": "wav"}}}
    _source(tmp_path, _spoken())
    script = f"""if True:
        import sys, dsp, json
        from pathlib import Path
        text = json.dumps({{"version": 1, "chains": {{"a": {spec!r}}}}})
        folder = Path({str(tmp_path)!r})
        chain = dsp.load_chain_file(text, origin="a").resolve()
        report = dsp.clean(dsp.Source(folder / "call.wav"), chain, folder)
        assert report.renditions[0].after.channels[0].denoise.applied
        print([name for name in ("scipy", "noisereduce", "av", "soxr", "soundfile") if name in sys.modules])
    """
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert loaded.stdout.strip() == "[]"
