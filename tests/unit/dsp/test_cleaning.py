"""One recording in, renditions and a report out."""

from __future__ import annotations

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

import dsp
from dsp import ChannelInfo, CleanReport, MeasureReport, Pause, ResolvedChain, Source
from dsp.audio import Samples
from tests.support.recordings import TelephoneCall

RATE_HZ = 8_000
PARTIES = (ChannelInfo("agent", "Kim"), ChannelInfo("customer"))

# The keys of the public report, as other programs read them.
PROGRAMME = {"integrated_lufs", "loudness_range_lu", "true_peak_dbtp"}
CHANNEL = PROGRAMME | {
    "index",
    "role",
    "sample_peak_dbfs",
    "speech_level_dbfs",
    "noise_floor_dbfs",
    "snr_db",
    "clipped_samples",
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


def _call(seconds: float = 6.0, seed: int = 1) -> Samples:
    return TelephoneCall(call_id="c", seed=seed, frames=round(seconds * RATE_HZ)).samples()


def _source(tmp_path: Path, samples: Samples | None = None, **told: Any) -> Source:
    path = tmp_path / "call.wav"
    subtype = told.pop("subtype", "ULAW")
    soundfile.write(path, _call() if samples is None else samples, RATE_HZ, subtype=subtype)
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
    assert set(told["timing"]["stages_s"]) == {"decode", "measure", "denoise", "normalize", "limit", "encode"}


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


@pytest.mark.parametrize("seed", range(4))
def test_each_party_is_at_the_target_and_under_the_ceiling(tmp_path: Path, seed: int) -> None:
    report = _clean(tmp_path, _source(tmp_path, _call(8.0, seed)))
    for rendition in report.renditions:
        for channel in rendition.after.channels:
            assert channel.integrated_lufs == pytest.approx(-16.0, abs=0.05)
            assert channel.true_peak_dbtp is not None
            assert channel.true_peak_dbtp < -1.4


def test_listen_is_denoised_and_asr_is_not(tmp_path: Path) -> None:
    report = _clean(tmp_path, _source(tmp_path, _call(20.0)))
    listen, asr = report.renditions
    for before, quieter, same in zip(
        report.before.channels, listen.after.channels, asr.after.channels, strict=True
    ):
        assert before.snr_db is not None
        assert quieter.snr_db is not None
        assert same.snr_db is not None
        assert quieter.snr_db > before.snr_db + 4
        assert same.snr_db == pytest.approx(before.snr_db, abs=1.0)
        assert (quieter.denoise.method, quieter.denoise.applied) == ("spectral_gate", True)
        assert quieter.denoise.reason == f"snr {before.snr_db:.1f} dB"
        assert (same.denoise.method, same.denoise.applied) == ("none", False)


def test_without_named_roles_the_programme_is_levelled(tmp_path: Path) -> None:
    samples = _call()
    samples[:, 1] *= 0.1
    report = _clean(tmp_path, _source(tmp_path, samples, channels=()), _chain(named_roles=False))
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


@pytest.mark.parametrize(
    "stages", [["normalize", "limit"], [{"denoise": {"method": "spectral_gate"}}, "limit"]]
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
    report = _clean(tmp_path, _source(tmp_path, samples, pauses=pause))
    assert report.renditions[0].after.channels[0].integrated_lufs == pytest.approx(-16.0, abs=0.05)
    assert _read(report, "asr")[20_000:30_000].any()


SILENT_KEYS = PROGRAMME | {"sample_peak_dbfs", "speech_level_dbfs", "noise_floor_dbfs", "snr_db"}


def test_a_silent_leg_is_silent_and_said_to_be(tmp_path: Path) -> None:
    samples = _call()
    samples[:, 1] = 0.0
    report = _clean(tmp_path, _source(tmp_path, samples))
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
    chain = _chain().model_copy(update={"output_version": 0})
    assert [w.code for w in _clean(tmp_path, _source(tmp_path), chain).warnings] == ["output_version"]


def test_what_decoding_warns_of_is_in_the_report(tmp_path: Path) -> None:
    source = _source(tmp_path)
    os.truncate(source.path, source.path.stat().st_size // 2)
    assert _clean(tmp_path, source).warnings[0].code == "truncated"


def test_an_output_that_cannot_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is an OSError, and no half of a file is left under any name."""
    source, out_dir = _source(tmp_path), tmp_path / "out"

    def full(self: Path, content: Any) -> int:
        with self.open("wb") as file:
            file.write(bytes(content)[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        _clean(tmp_path, source)
    assert list(out_dir.iterdir()) == []


def test_importing_dsp_loads_nothing_that_computes() -> None:
    """A worker's parent reads chains and reports; scipy and noisereduce stay in its children."""
    script = (
        "import sys, dsp; dsp.shipped_chain_file().resolve().digest; "
        "print([name for name in ('scipy', 'noisereduce', 'soundfile', 'joblib') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
    assert loaded.stdout.strip() == "[]"
