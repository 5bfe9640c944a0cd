"""Bad input, event in, outcome out: each has a clear end that the table shows, and what comes after it is cleaned.

One run of one worker on the real parts takes all of it, on one partition, so that whatever sticks would hold up the
good calls between.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from tests.acceptance.bad_input import (
    MAX_ATTEMPTS,
    MAX_DURATION_S,
    MAX_RAW_IN_EVENT_BYTES,
    MAX_RECORDING_BYTES,
    BadEvent,
    BadRecording,
    bad_events,
    bad_recordings,
    event_bytes,
)
from tests.acceptance.programs import run_clearcall
from tests.acceptance.stacks import RealStack
from tests.support.commands import clearcall_here
from tests.support.observation import Observation
from tests.support.oracle import Expectation, MustBeCleaned, MustBeRejected, MustFail, judge
from tests.support.ports import LOOPBACK
from tests.support.recordings import SAMPLE_RATE_HZ, Record, TelephoneCall, telephone_calls
from tests.support.worker import Worker

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

_ENDED_WITHIN_S = 60.0
# All on one partition: in Kafka's order, each behind the one before.
_KEY = b"bad input"

CHAINS = """
version: 1
default: telephony
chains:
  telephony: &telephony
    stages: [{normalize: {target_lufs: -16.0}}, {limit: {ceiling_dbtp: -1.5}}]
    renditions: {listen: {format: flac}, asr: {format: wav}}
"""
LATER_CHAIN = "  later:\n    stages: [{normalize: {target_lufs: -20.0}}]\n"


@pytest.fixture
def http_url() -> Iterator[str]:
    """A web server on loopback that has nothing."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Nothing)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://{LOOPBACK}:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def chain_file(tmp_path: Path) -> Path:
    """A chain file that lacks a chain which some event names."""
    file = tmp_path / "chains.yaml"
    file.write_text(CHAINS)
    return file


@pytest.mark.timeout(180)
async def test_every_bad_event_and_recording_has_an_outcome_and_the_calls_between_are_cleaned(
    real_stack: RealStack, http_url: str, chain_file: Path
) -> None:
    events, recordings = bad_events(), bad_recordings(real_stack, http_url)
    later = BadEvent(
        value=event_bytes("later", real_stack.put_recording("calls/later.wav", _sound(5)), chain="later"),
        code="unknown_chain",
        field="chain",
        call_id="later",
    )
    events.append(later)
    cut = TelephoneCall(call_id="truncated", seed=9, frames=2 * SAMPLE_RATE_HZ)
    lost_frames = SAMPLE_RATE_HZ // 2
    goods = telephone_calls(9, prefix="good")
    settings = _settings(real_stack, http_url, chain_file)

    bad = [
        *(event.record for event in events),
        *(one.record for one in recordings),
        cut.recorded(real_stack.put_recording("calls/cut.wav", cut.wav()[: -2 * lost_frames])),
    ]
    good = [
        call.recorded(real_stack.put_recording(f"calls/{call.call_id}.wav", call.wav())) for call in goods
    ]
    await real_stack.publish(_in_one_row(bad, good))
    worker = real_stack.start_worker(settings)

    expected: list[Expectation] = [
        *(MustBeRejected(value=event.value, code=event.code) for event in events),
        *(MustFail(identity=("default", one.call_id, one.call_id), code=one.code) for one in recordings),
        *(MustBeCleaned(identity=call.identity, frames=call.frames) for call in goods),
        MustBeCleaned(identity=cut.identity, frames=cut.frames - lost_frames),
    ]
    await real_stack.wait_until_ended(expected, timeout_s=_ENDED_WITHIN_S)
    seen = await real_stack.observe()
    assert judge(expected, seen) == []

    await _check_that_the_table_shows(worker, events, recordings)
    _check_that_events_tell_of_failures(recordings, seen)
    await _check_that_the_original_bytes_can_be_read_back(settings, events, seen)
    await _check_a_replay_after_a_fix(real_stack, worker, settings, chain_file)
    await _check_another_round(real_stack, worker, settings, seen)


async def _check_that_the_table_shows(
    worker: Worker, events: Sequence[BadEvent], recordings: Sequence[BadRecording]
) -> None:
    async with httpx.AsyncClient(base_url=worker.url, trust_env=False, timeout=10) as http:
        listed = (await http.get("/api/v1/calls", params={"limit": 500})).json()
        page = (await http.get("/", params={"limit": 500})).text
        cut = (await http.get("/status/truncated")).json()
        for one in recordings:
            detail = (await http.get(f"/status/{one.call_id}")).json()
            assert (detail["status"], detail["attempts"]) == ("failed", one.attempts), detail
            assert detail["finished_at"] is not None
            assert detail["renditions"] == []
    assert listed["next_cursor"] is None
    rejected = [call for call in listed["calls"] if call["status"] == "rejected"]
    assert sorted(
        (call["error"]["code"], call["error"]["field"] or "", call["call_id"] or "") for call in rejected
    ) == sorted((event.code, event.field or "", event.call_id or "") for event in events)
    assert all(call["rejected_id"] and call["origin"]["topic"] for call in rejected)
    failed = {call["call_id"]: call for call in listed["calls"] if call["status"] == "failed"}
    assert failed.keys() == {one.call_id for one in recordings}
    for one in recordings:
        row = failed[one.call_id]
        assert (row["attempts"], row["error"]["code"]) == (one.attempts, one.code)
        assert (row["error"]["retriable"], one.says in row["error"]["message"]) == (one.retriable, True), row
    assert "s3cr3t" not in page + json.dumps(listed)
    for name in {one.call_id for one in recordings} | {event.call_id for event in events if event.call_id}:
        assert f"<bdi>{name}</bdi>" in page
    for code in {one.code for one in recordings} | {event.code for event in events}:
        assert f"<code>{code}</code>" in page
    assert cut["status"] == "cleaned"
    (told,) = (warning for warning in cut["statistics"]["warnings"] if warning["code"] == "truncated")
    assert f"{SAMPLE_RATE_HZ} bytes" in told["message"]  # two channels of a byte a sample, for half a second


def _check_that_events_tell_of_failures(recordings: Sequence[BadRecording], seen: Observation) -> None:
    told = {
        event.body["call_id"]: event.body["error"] for event in seen.events if event.topic == "call.failed"
    }
    assert told.keys() == {one.call_id for one in recordings}
    for one in recordings:
        error = told[one.call_id]
        assert (error["code"], error["attempts"], error["retriable"]) == (
            one.code,
            one.attempts,
            one.retriable,
        )
        assert one.says in error["message"]
        assert "s3cr3t" not in error["message"]


async def _check_that_the_original_bytes_can_be_read_back(
    settings: Mapping[str, str], events: Sequence[BadEvent], seen: Observation
) -> None:
    ended = await asyncio.to_thread(clearcall_here, settings, "rejected", "list", "--json", "--limit", "100")
    assert ended.status == 0, ended.output
    listed = json.loads(ended.output)
    kept = sorted((row["sha256"], _decoded(row["raw"]) or b"") for row in listed)
    assert kept == sorted(
        (hashlib.sha256(event.value or b"").hexdigest(), event.value or b"") for event in events
    )
    # An event without a value is not one with an empty value.
    assert [row["error_code"] for row in listed if row["raw"] is None] == ["null_value"]
    ids = {row["rejected_id"]: row for row in listed}
    assert {row["error_code"]: _headers(row) for row in listed if row["headers"]} == {
        event.code: [(_storable(name), value) for name, value in event.headers]
        for event in events
        if event.headers
    }

    told = {event.body["event_id"]: event.body for event in seen.events if event.topic == "call.rejected"}
    assert told.keys() == ids.keys()
    for rejected_id, body in told.items():
        value = _decoded(ids[rejected_id]["raw"])
        fits = value is not None and len(value) <= MAX_RAW_IN_EVENT_BYTES
        assert _decoded(body["raw"]) == (value if fits else None), f"{rejected_id}: {body['error']}"
        assert body["sha256"] == ids[rejected_id]["sha256"]
        assert (body["partition"], body["offset"]) == (
            ids[rejected_id]["partition"],
            ids[rejected_id]["offset"],
        )

    unlike_text = {row["error_code"]: row["rejected_id"] for row in listed}
    for code in ("not_utf8", "too_large"):
        (event,) = (event for event in events if event.code == code)
        shown = await run_clearcall(settings, "rejected", "show", unlike_text[code], "--raw")
        assert (shown.status, shown.stdout == event.value) == (0, True), shown.stderr


async def _check_a_replay_after_a_fix(
    stack: RealStack, worker: Worker, settings: Mapping[str, str], chain_file: Path
) -> None:
    rows = await stack.fetch("SELECT rejected_id::text, error_code FROM rejected_events")
    ids = {code: rejected_id for rejected_id, code in rows}
    still = await asyncio.to_thread(clearcall_here, settings, "rejected", "replay", ids["unknown_chain"])
    assert (still.status, "Still rejected" in still.text) == (1, True), still.output

    chain_file.write_text(CHAINS + LATER_CHAIN)
    replayed = await asyncio.to_thread(clearcall_here, settings, "rejected", "replay", ids["unknown_chain"])
    assert (replayed.status, "is queued" in replayed.text) == (0, True), replayed.output
    await _wait_until_cleaned(stack, "later")
    async with httpx.AsyncClient(base_url=worker.url, trust_env=False, timeout=10) as http:
        listed = (await http.get("/api/v1/calls", params={"q": "later"})).json()["calls"]
    assert [(call["status"], call["chain"]["name"]) for call in listed] == [("cleaned", "later")]
    again = await asyncio.to_thread(clearcall_here, settings, "rejected", "replay", ids["unknown_chain"])
    assert (again.status, "was known already" in again.text) == (0, True), again.output
    # What was wrong with the others is wrong still.
    hopeless = await asyncio.to_thread(clearcall_here, settings, "rejected", "replay", ids["not_utf8"])
    assert (hopeless.status, "Still rejected" in hopeless.text) == (1, True), hopeless.output


async def _check_another_round(
    stack: RealStack, worker: Worker, settings: Mapping[str, str], seen: Observation
) -> None:
    """A failed call is cleaned once its object is there; one that fails again tells so by another event."""
    stack.put_recording("calls/late.wav", _sound(6))
    for call_id in ("not-there-yet", "http-404"):
        ended = await asyncio.to_thread(clearcall_here, settings, "retry", call_id)
        assert ended.status == 0, ended.output
    await _wait_until_cleaned(stack, "not-there-yet")
    query = "SELECT count(*) FROM outbox WHERE topic = 'call.failed' AND sent_at IS NOT NULL"
    failures = len([event for event in seen.events if event.topic == "call.failed"])
    await stack.wait_until_count(query, failures + 1, timeout_s=_ENDED_WITHIN_S)

    after = await stack.observe()
    told = [
        event
        for event in after.events
        if event.topic == "call.failed" and event.body["call_id"] == "http-404"
    ]
    assert [event.body["error"]["attempts"] for event in told] == [MAX_ATTEMPTS, MAX_ATTEMPTS]
    assert len({event.body["event_id"] for event in told}) == len(told)
    assert len({event.body["result_id"] for event in told}) == 1
    rows = {row.identity[1]: row for row in after.results}
    assert (rows["http-404"].status, rows["http-404"].attempts) == ("failed", MAX_ATTEMPTS)
    assert (rows["not-there-yet"].status, rows["not-there-yet"].attempts) == ("cleaned", 1)
    assert rows["not-there-yet"].error_code is None
    assert len(rows["not-there-yet"].renditions) == len(rows["good-000"].renditions)
    nothing = await asyncio.to_thread(clearcall_here, settings, "retry", "not-there-yet")
    assert (nothing.status, "nothing to retry" in nothing.text) == (1, True), nothing.output


def _settings(stack: RealStack, http_url: str, chain_file: Path) -> dict[str, str]:
    # The output bucket is listed, and refused all the same.
    sources = [
        f"s3://{stack.source_bucket}/calls",
        f"s3://{stack.settings['CLEARCALL_S3_BUCKET']}",
        "s3://listed-but-not-made",
        f"{http_url}/calls",
    ]
    return {
        **stack.settings,
        "CLEARCALL_SOURCES": json.dumps({"*": sources, "acme": [f"s3://{stack.source_bucket}/private"]}),
        "CLEARCALL_CHAIN_FILE": str(chain_file),
        "CLEARCALL_MAX_ATTEMPTS": str(MAX_ATTEMPTS),
        "CLEARCALL_RETRY_MIN_S": "0.05",
        "CLEARCALL_RETRY_MAX_S": "0.1",
        "CLEARCALL_MAX_RECORDING_BYTES": str(MAX_RECORDING_BYTES),
        "CLEARCALL_MAX_DURATION_S": str(MAX_DURATION_S),
    }


def _in_one_row(bad: Sequence[Record], good: Sequence[Record]) -> list[Record]:
    """Bad ones with good ones between them and at the end, all under one key."""
    every = -(-len(bad) // len(good))
    row = []
    for number, one in enumerate(good):
        row += [*bad[number * every : (number + 1) * every], one]
    return [Record(value=record.value, headers=record.headers, key=_KEY) for record in row]


def _sound(seed: int) -> bytes:
    return TelephoneCall(call_id="any", seed=seed, frames=SAMPLE_RATE_HZ).wav()


def _decoded(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _headers(row: Mapping[str, Any]) -> list[tuple[str, bytes | None]]:
    return [(name, _decoded(value)) for name, value in row["headers"]]


def _storable(name: str) -> str:
    """A header's name as the database keeps it: what it cannot hold is written as an escape."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


async def _wait_until_cleaned(stack: RealStack, call_id: str) -> None:
    query = f"SELECT count(*) FROM results WHERE call_id = '{call_id}' AND status = 'cleaned'"  # noqa: S608
    await stack.wait_until_count(query, 1, timeout_s=_ENDED_WITHIN_S)
