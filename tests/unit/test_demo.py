"""Which calls the demo sends, and how it tells what became of them."""

import io
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agents.status import CallStatus
from app.calls import CallFault, CallSummary
from app.demo import DemoError, DemoResult, call_ids, calls_in, example_calls, print_results
from schemas import CallRecorded, is_identifier

_NAMES = st.lists(st.text(st.characters(exclude_characters="/\x00", codec="utf-8"), min_size=1), max_size=8)


def _row(call_id: str, status: CallStatus = CallStatus.CLEANED, **more: object) -> CallSummary:
    moment = datetime(2026, 11, 20, tzinfo=UTC)
    facts: dict[str, object] = {
        "tenant_id": "default",
        "call_id": call_id,
        "recording_id": call_id,
        "status": status,
        "attempts": 1,
        "queued_at": moment,
        "started_at": moment,
        "finished_at": moment,
        "error": None,
        "chain": None,
        "result_id": UUID(int=1),
    }
    return CallSummary.model_validate(facts | more)


def _printed(*results: DemoResult, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(console, results, base=Path("/home/kim"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_examples_are_six_recordings_with_valid_events() -> None:
    calls = example_calls()
    assert len(calls) == 6
    assert all(call.path.is_file() for call in calls)
    for call in calls:
        CallRecorded.model_validate(
            call.event | {"recording": {"url": f"s3://recordings/{call.call_id}.wav"}}
        )
    assert len({call.call_id for call in calls}) == 6


def test_without_examples_the_error_says_what_to_give_instead(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="--recordings"):
        example_calls(tmp_path)


def test_a_folder_gives_a_call_for_each_recording_below_it_and_passes_over_the_rest(tmp_path: Path) -> None:
    (tmp_path / "monday").mkdir()
    for name in ("a.wav", "monday/a.FLAC", "monday/notes.txt", "B side.mp3"):
        (tmp_path / name).touch()
    calls = calls_in(tmp_path)
    assert {(call.path.name, call.call_id) for call in calls} == {
        ("B side.mp3", "B-side"),
        ("a.wav", "a"),
        ("a.FLAC", "a-2"),
    }


def test_a_folder_without_recordings_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=str(tmp_path)):
        calls_in(tmp_path)
    with pytest.raises(DemoError, match="not a folder"):
        calls_in(tmp_path / "absent")


@given(_NAMES)
def test_every_file_gets_a_valid_id_of_its_own(names: list[str]) -> None:
    ids = call_ids(Path(name) for name in names)
    assert len(set(ids)) == len(ids) == len(names)
    assert all(is_identifier(given) for given in ids)


def test_a_cleaned_call_shows_its_figures_and_where_its_file_is() -> None:
    row = _row(
        "c-1",
        duration_s=23.64,
        before_lufs=-30.44,
        after_lufs=-16.0,
        before_noise_floor_dbfs=-48.0,
        after_noise_floor_dbfs=-61.26,
    )
    told = _printed(DemoResult(row, Path("/home/kim/out/c-1.flac")))
    assert "23.6 s" in told
    assert "-30.4 -> -16.0" in told
    assert "-48.0 -> -61.3" in told
    assert " out/c-1.flac" in told


def test_a_failed_call_shows_why_in_place_of_a_file() -> None:
    fault = CallFault(code="truncated", message="The recording ends early.", retriable=False)
    told = _printed(DemoResult(_row("c-2", CallStatus.FAILED, error=fault), None))
    assert "failed: The recording ends early." in told


def test_a_silent_recording_has_no_loudness_to_show() -> None:
    told = _printed(DemoResult(_row("c-3", duration_s=1.0), Path("/elsewhere/c-3.flac")))
    assert "- ->     -" in told
    assert "/elsewhere/c-3.flac" in told


def test_a_narrow_terminal_gets_whole_figures_and_whole_paths() -> None:
    output = Path("/home/kim/.clearcall/demo/outputs/example-appointment.listen.flac")
    row = _row("example-appointment", duration_s=24.9, before_lufs=-22.1, after_lufs=-16.0)
    lines = _printed(DemoResult(row, output), width=80).splitlines()
    assert any("24.9 s" in line and "-22.1 -> -16.0" in line for line in lines)
    assert any(".clearcall/demo/outputs/example-appointment.listen.flac" in line for line in lines)
