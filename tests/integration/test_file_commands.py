"""`clearcall clean` and `clearcall measure`: files in, files out."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from app.cli import batch, files
from app.cli.batch import Manner, Outcome

EXAMPLES = Path(__file__).parents[2] / "examples"
RATE_HZ = 8000
_PROGRAM = "from app.cli import main; main()"


def _cli() -> typer.Typer:
    cli = typer.Typer(pretty_exceptions_enable=False)
    files.register(cli)
    return cli


def _run(*told: object) -> Result:
    return CliRunner().invoke(_cli(), [str(word) for word in told], catch_exceptions=False)


def _documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _until(holds: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def _excerpts() -> dict[str, Any]:
    cut = {}
    for name in ("parcel", "router", "breakdown"):
        cut[name], _ = soundfile.read(EXAMPLES / f"{name}.wav", stop=4 * RATE_HZ)
    return cut


@pytest.fixture
def calls(tmp_path: Path, _excerpts: dict[str, Any]) -> Path:
    """A folder with three short calls."""
    folder = tmp_path / "calls"
    folder.mkdir()
    for name, samples in _excerpts.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE_HZ, subtype="ULAW")
    return folder


@pytest.fixture(scope="session")
def long_calls(tmp_path_factory: pytest.TempPathFactory, _excerpts: dict[str, Any]) -> Path:
    """A folder with two calls of 40 minutes: more than is cleaned before a signal comes."""
    folder = tmp_path_factory.mktemp("long")
    samples = np.tile((_excerpts["router"] * 2**15).astype(np.int16), (600, 1))
    soundfile.write(folder / "one.wav", samples, RATE_HZ, subtype="PCM_16")
    (folder / "two.wav").hardlink_to(folder / "one.wav")
    return folder


def test_a_recording_becomes_the_file_that_is_named(calls: Path, tmp_path: Path) -> None:
    out = tmp_path / "cleaned" / "quiet.flac"
    result = _run("clean", calls / "parcel.wav", "-o", out, "--json")
    assert result.exit_code == 0
    (report,) = _documents(result)
    (rendition,) = report["renditions"]
    assert rendition["path"] == str(out)
    assert rendition["sha256"] == _sha256(out)
    assert rendition["bytes"] == out.stat().st_size
    found = soundfile.info(out)
    assert (found.format, found.samplerate, found.channels, found.frames) == ("FLAC", RATE_HZ, 2, 4 * RATE_HZ)
    assert report["input"]["path"] == str(calls / "parcel.wav")
    assert report["input"]["sha256"] == _sha256(calls / "parcel.wav")
    # Nothing lies about besides the output.
    assert _names(out.parent) == ["quiet.flac"]


def test_a_name_in_wav_holds_a_wav_of_the_same_samples(calls: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "quiet.wav", tmp_path / "quiet.flac"):
        assert _run("clean", calls / "parcel.wav", "-o", out).exit_code == 0
    assert soundfile.info(tmp_path / "quiet.wav").format in {"WAV", "WAVEX"}
    as_wav, _ = soundfile.read(tmp_path / "quiet.wav", dtype="int16")
    as_flac, _ = soundfile.read(tmp_path / "quiet.flac", dtype="int16")
    np.testing.assert_array_equal(as_wav, as_flac)


def test_another_format_is_another_chain(calls: Path, tmp_path: Path) -> None:
    """The digest promises bytes: those of a WAV are not those of the FLAC that the chain file asks for."""

    def digest(out: str, *options: str) -> str:
        (report,) = _documents(_run("clean", calls / "parcel.wav", "-o", tmp_path / out, "--json", *options))
        assert report["chain"]["name"] == "mine"
        return str(report["chain"]["digest"])

    chains = {}
    for file_format in ("flac", "wav"):
        chains[file_format] = tmp_path / f"{file_format}.yaml"
        chains[file_format].write_text(
            "{version: 1, chains: {mine: {stages: [normalize], renditions: {listen: {format: FORMAT}}}}}".replace(
                "FORMAT", file_format
            )
        )
    asked = digest("a.wav", "--chain-file", str(chains["flac"]))
    assert asked == digest("b.wav", "--chain-file", str(chains["wav"]))
    assert asked != digest("c.flac", "--chain-file", str(chains["flac"]))


def test_files_without_a_header_are_read_as_they_are_said_to_be(calls: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(calls / "parcel.wav", dtype="int16")
    (tmp_path / "call.sln").write_bytes(samples.tobytes())
    described = ["--encoding", "slin", "--sample-rate", RATE_HZ, "--raw-channels", 2]
    headerless = _run("measure", tmp_path / "call.sln", "--json", *described)
    with_header = _run("measure", calls / "parcel.wav", "--json")
    assert _documents(headerless)[0]["before"] == _documents(with_header)[0]["before"]


@pytest.mark.parametrize("named", ["folder", "pattern", "files"])
def test_a_folder_a_pattern_and_many_files_give_a_folder(calls: Path, tmp_path: Path, named: str) -> None:
    recordings = {"folder": [calls], "pattern": [calls / "*.wav"], "files": sorted(calls.iterdir())}[named]
    (calls / "notes.txt").write_text("not a recording")
    result = _run("clean", *recordings, "-o", tmp_path / "out", "--jobs", 1, "--json")
    assert result.exit_code == 0
    assert _names(tmp_path / "out") == ["breakdown.flac", "parcel.flac", "router.flac"]
    assert [report["input"]["path"] for report in _documents(result)] == [
        str(calls / f"{name}.wav") for name in ("breakdown", "parcel", "router")
    ]


def test_a_recording_named_twice_is_cleaned_once(calls: Path, tmp_path: Path) -> None:
    result = _run("clean", calls / "parcel.wav", calls / "p*.wav", calls / ".." / "calls" / "parcel.wav",
                  "-o", tmp_path / "out", "--json")  # fmt: skip
    assert result.exit_code == 0
    assert len(_documents(result)) == 1
    assert _names(tmp_path / "out") == ["parcel.flac"]


def test_several_renditions_carry_their_names(calls: Path, tmp_path: Path) -> None:
    result = _run("clean", calls / "parcel.wav", "-o", tmp_path / "out", "--rendition", "asr", "--rendition", "listen",
                  "--json")  # fmt: skip
    assert result.exit_code == 0
    assert _names(tmp_path / "out") == ["parcel.asr.wav", "parcel.listen.flac"]
    (report,) = _documents(result)
    assert [rendition["name"] for rendition in report["renditions"]] == ["asr", "listen"]
    for rendition in report["renditions"]:
        assert rendition["sha256"] == _sha256(Path(rendition["path"]))


def test_a_chain_file_can_ask_for_a_file_a_channel(calls: Path, tmp_path: Path) -> None:
    chain_file = tmp_path / "chains.yaml"
    chain_file.write_text(
        "version: 1\nchains:\n  mine:\n    stages: [{normalize: {target_lufs: -20}}]\n"
        "    renditions: {listen: {format: wav, layout: split}}\n"
    )
    result = _run("clean", calls / "parcel.wav", calls / "router.wav", "-o", tmp_path / "out",
                  "--chain-file", chain_file, "--chain", "mine", "--jobs", 1)  # fmt: skip
    assert result.exit_code == 0
    assert _names(tmp_path / "out") == ["parcel-0.wav", "parcel-1.wav", "router-0.wav", "router-1.wav"]
    assert soundfile.info(tmp_path / "out" / "parcel-1.wav").channels == 1


def test_a_bad_recording_is_reported_and_the_others_go_on(calls: Path, tmp_path: Path) -> None:
    (calls / "broken.wav").write_text("this is no recording")
    (calls / "none.wav").touch()
    result = _run("clean", calls, calls / "missing.wav", "-o", tmp_path / "out", "--jobs", 1, "--json")
    assert result.exit_code == 1
    assert [Path(report["input"]["path"]).stem for report in _documents(result)] == [
        "breakdown",
        "parcel",
        "router",
    ]
    for name in ("broken.wav", "none.wav", "missing.wav"):
        assert str(calls / name) in result.stderr
    assert "3 of 6 recordings failed" in result.stderr
    assert _names(tmp_path / "out") == ["breakdown.flac", "parcel.flac", "router.flac"]


def test_processes_give_the_same_bytes_and_one_bad_recording_stops_none(calls: Path, tmp_path: Path) -> None:
    (calls / "broken.wav").write_text("this is no recording")
    one = _run("clean", calls, "-o", tmp_path / "one", "--jobs", 1, "--json")
    two = _run("clean", calls, "-o", tmp_path / "two", "--jobs", 2, "--json")
    assert (one.exit_code, two.exit_code) == (1, 1)
    assert (
        _names(tmp_path / "one")
        == _names(tmp_path / "two")
        == ["breakdown.flac", "parcel.flac", "router.flac"]
    )
    for name in _names(tmp_path / "one"):
        assert _sha256(tmp_path / "one" / name) == _sha256(tmp_path / "two" / name)
    assert [report["input"]["path"] for report in _documents(one)] == [
        report["input"]["path"] for report in _documents(two)
    ]


def test_roles_let_each_party_be_levelled_alone(tmp_path: Path) -> None:
    chain_file = tmp_path / "chains.yaml"
    chain_file.write_text("{version: 1, chains: {level: {stages: [{normalize: {target_lufs: -28}}]}}}")

    def apart_lu(measured: dict[str, Any]) -> float:
        first, second = (channel["integrated_lufs"] for channel in measured["channels"])
        return float(first - second)

    def cleaned(*options: str) -> tuple[list[str | None], float, float]:
        result = _run("clean", EXAMPLES / "invoice.wav", "-o", tmp_path / "x.flac", "--json", *options,
                      "--chain-file", chain_file)  # fmt: skip
        (report,) = _documents(result)
        after = report["renditions"][0]["after"]
        return [channel["role"] for channel in after["channels"]], apart_lu(report["before"]), apart_lu(after)

    roles, _, after_lu = cleaned("--channels", "agent, customer")
    assert roles == ["agent", "customer"]
    assert after_lu == pytest.approx(0.0, abs=0.1)
    roles, before_lu, after_lu = cleaned()
    assert roles == [None, None]
    assert abs(before_lu) > 2.0
    assert after_lu == pytest.approx(before_lu, abs=0.1)


def test_the_table_names_every_output(calls: Path, tmp_path: Path) -> None:
    result = _run("clean", calls, "-o", tmp_path / "out", "--jobs", 1)
    assert result.exit_code == 0
    for name in ("breakdown", "parcel", "router"):
        (row,) = [line for line in result.stdout.splitlines() if line.startswith(f"{name}.wav ")]
        assert row.rstrip().endswith(str(tmp_path / "out" / f"{name}.flac"))
    assert "failed" not in result.stderr


@pytest.mark.parametrize("disguise", ["itself", "folder", "hard link", "symbolic link"])
def test_a_recording_is_never_overwritten(calls: Path, tmp_path: Path, disguise: str) -> None:
    recording = calls / "parcel.wav"
    before = _sha256(recording)
    out = {"itself": recording, "folder": calls}.get(disguise, tmp_path / "other.wav")
    if disguise == "hard link":
        out.hardlink_to(recording)
    elif disguise == "symbolic link":
        out.symlink_to(recording)
    result = _run("clean", recording, "-o", out, "--rendition", "asr")
    assert result.exit_code == 2
    assert "never overwritten" in result.stderr
    assert _sha256(recording) == before
    assert _names(calls) == ["breakdown.wav", "parcel.wav", "router.wav"]


def test_two_recordings_of_one_stem_are_not_put_into_one_folder(calls: Path, tmp_path: Path) -> None:
    shutil.copytree(calls, tmp_path / "more")
    result = _run("clean", calls, tmp_path / "more", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "would both become" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rendition", "lisen"], "asr"),
        (["--chain", "telefony"], "telephony"),
        (["--jobs", "0"], "--jobs"),
        (["--channels", "Agent 7"], "not a role"),
        (["--sample-rate", "16000"], "--encoding"),
        (["--encoding", "opus"], "slin"),
        (["--chain-file", "/nowhere.yaml"], "/nowhere.yaml"),
    ],
)
def test_wrong_use_is_told_and_nothing_is_done(
    calls: Path, tmp_path: Path, options: list[str], said: str
) -> None:
    result = _run("clean", calls / "parcel.wav", "-o", tmp_path / "out.flac", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert _names(tmp_path) == ["calls"]


def test_a_wrong_chain_file_is_told_with_the_line_and_the_right_name(calls: Path, tmp_path: Path) -> None:
    chain_file = tmp_path / "chains.yaml"
    chain_file.write_text(
        "version: 1\nchains:\n  mine:\n    stages:\n      - normalise: {target_lufs: -20}\n"
    )
    result = _run("clean", calls, "-o", tmp_path / "out", "--chain-file", chain_file)
    assert result.exit_code == 2
    assert "line 5" in result.stderr
    assert "normalize" in result.stderr


@pytest.mark.parametrize("out", ["quiet.aiff", "calls/parcel.wav/x.flac"])
def test_an_output_that_cannot_be_is_refused(calls: Path, tmp_path: Path, out: str) -> None:
    result = _run("clean", calls / "router.wav", "-o", tmp_path / out)
    assert result.exit_code in {1, 2}
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert _names(calls) == ["breakdown.wav", "parcel.wav", "router.wav"]


def test_an_empty_folder_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = _run("measure", tmp_path / "empty")
    assert result.exit_code == 2
    assert "No recording lies in the folder" in result.stderr


def test_a_name_cannot_write_to_the_terminal(calls: Path, tmp_path: Path) -> None:
    (calls / "\x1b[31mred\n.wav").write_text("no recording")
    (calls / "[bold]markup.wav").write_text("no recording")
    result = _run("clean", calls, "-o", tmp_path / "out", "--jobs", 1)
    assert result.exit_code == 1
    assert "\x1b" not in result.output
    assert "[bold]markup.wav" in result.stderr


def test_measure_gives_what_clean_calls_before_and_changes_nothing(calls: Path, tmp_path: Path) -> None:
    def state() -> list[tuple[str, int, str]]:
        return [(path.name, path.stat().st_mtime_ns, _sha256(path)) for path in sorted(calls.iterdir())]

    before = state()
    measured = _run("measure", calls, "--json", "--jobs", 1)
    assert measured.exit_code == 0
    assert state() == before
    cleaned = _run("clean", calls, "-o", tmp_path / "out", "--json", "--jobs", 1)
    for measured_report, cleaned_report in zip(_documents(measured), _documents(cleaned), strict=True):
        assert set(measured_report) == {"input", "before", "warnings"}
        assert measured_report == {key: cleaned_report[key] for key in measured_report}


def test_the_table_of_measure_has_a_row_a_channel(calls: Path) -> None:
    result = _run("measure", calls / "parcel.wav", "--channels", "agent,customer")
    assert result.exit_code == 0
    rows = result.stdout.splitlines()[1:]
    assert [row.split("agent")[0].split()[0] for row in rows if "agent" in row] == ["parcel.wav"]
    assert len(rows) == 2


def _reports(recording: Path, **_: object) -> Outcome:
    return Outcome(recording, report={"by": os.getpid()})


def _dies(recording: Path, **_: object) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(recording)


def test_a_process_that_dies_costs_one_recording() -> None:
    tasks = [partial(_dies if index in {1, 4} else _reports, Path(str(index))) for index in range(6)]
    outcomes = list(batch.run(tasks, Manner(2)))
    assert [outcome.recording.name for outcome in outcomes] == list("012345")
    assert [index for index, outcome in enumerate(outcomes) if outcome.error] == [1, 4]
    assert "memory" in (outcomes[1].error or "")
    assert all(outcome.report for outcome in outcomes if not outcome.error)


def _hangs(recording: Path) -> Outcome:
    time.sleep(600)
    return Outcome(recording)


def test_a_process_that_hangs_costs_one_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_PATIENCE_S", 8.0)
    tasks = [partial(_hangs if index == 0 else _reports, Path(str(index))) for index in range(4)]
    outcomes = list(batch.run(tasks, Manner(2, durations_s=[0.5] * 4)))
    assert [bool(outcome.error) for outcome in outcomes] == [True, False, False, False]
    assert "hang" in (outcomes[0].error or "")


def test_each_recording_is_told_of_as_soon_as_it_has_ended_and_given_in_its_turn() -> None:
    told: list[int] = []
    tasks = [partial(_after_a_moment if index == 0 else _reports, Path(str(index))) for index in range(4)]
    outcomes = batch.run(tasks, Manner(2, ended=lambda index, _: told.append(index)))
    assert [outcome.recording.name for outcome in outcomes] == list("0123")
    assert sorted(told) == [0, 1, 2, 3]
    assert told[-1] == 0


def _after_a_moment(recording: Path) -> Outcome:
    time.sleep(2.0)
    return Outcome(recording)


def test_one_recording_needs_no_other_process() -> None:
    (outcome,) = batch.run([partial(_reports, Path("0"))], Manner(8))
    assert outcome.report == {"by": os.getpid()}


Start = Callable[[Path, Path, int], subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts to clean, as a shell would: in a process group of its own; gives it back when it is at work."""
    started = []

    def run(calls: Path, out: Path, jobs: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-c", _PROGRAM, "clean", str(calls), "-o", str(out), "--jobs", str(jobs)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Whoever runs the tests in the background of a shell has it ignored, and so would we.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        started.append(process)
        _until(lambda: any(out.glob(".clearcall-*/0")) or process.poll() is not None, "it is at work")
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _have_ended(workers: list[psutil.Process]) -> bool:
    # Orphans that nobody has reaped yet have ended too.
    return all(not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE for worker in workers)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_nothing_half_done(
    long_calls: Path, tmp_path: Path, start: Start, jobs: int, number: int
) -> None:
    out = tmp_path / "out"
    process = start(long_calls, out, jobs)
    workers = _workers(process)
    assert bool(workers) is (jobs > 1)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # Ctrl-C reaches the whole group
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=10)
    assert process.returncode not in {0, 2}
    assert "Traceback" not in said
    assert _names(out) == []
    _until(lambda: _have_ended(workers), "the processes have ended", within_s=5.0)


def test_killed_it_leaves_no_process_and_no_visible_output(
    long_calls: Path, tmp_path: Path, start: Start
) -> None:
    out = tmp_path / "out"
    process = start(long_calls, out, 2)
    workers = _workers(process)
    assert workers
    process.kill()
    process.communicate(timeout=10)
    _until(lambda: _have_ended(workers), "the processes have ended")
    assert [name for name in _names(out) if not name.startswith(".")] == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_folder_is_cleaned_and_the_program_ends_without_a_word_of_its_own(
    calls: Path, tmp_path: Path, jobs: int
) -> None:
    command = [
        sys.executable,
        "-c",
        _PROGRAM,
        "clean",
        str(calls),
        "-o",
        str(tmp_path / "out"),
        "--jobs",
        str(jobs),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - this program
    assert ran.returncode == 0
    warnings = ran.stderr.splitlines()
    assert all(warning.startswith(f"{calls}/") for warning in warnings), ran.stderr
    assert _names(tmp_path / "out") == ["breakdown.flac", "parcel.flac", "router.flac"]


def test_no_service_is_looked_for(calls: Path) -> None:
    """The commands on files start quickly: what they do not need is not imported."""
    program = f"""
import sys, typer
from typer.testing import CliRunner
from app.cli import files
cli = typer.Typer()
files.register(cli)
result = CliRunner().invoke(cli, ["clean", {str(calls / "parcel.wav")!r}, "-o", {str(calls / "x.wav")!r}, "--json"])
assert result.exit_code == 0, result.output
heavy = {{"aiohttp", "aiokafka", "asyncpg", "faust", "httpx", "minio", "sqlalchemy"}}
slow = {{"asyncio", "av", "multiprocessing", "noisereduce", "rich", "schemas", "scipy"}}
print(*sorted((heavy | slow) & sys.modules.keys()))
"""
    ran = subprocess.run(  # noqa: S603 - this very program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == ""
