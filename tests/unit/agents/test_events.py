"""The events that tell of an end: the same end is the same event, byte by byte."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

from agents import events
from agents.errors import CallError
from agents.ports import Claim
from schemas import CallCleaned, CallFailed, OutgoingEvent, cleaned_event_id, failed_event_id
from tests.support.calls import NOON
from tests.support.work import SOURCE, TRACEPARENT, Finished, claim, recorded

ERROR = CallError("too_large", "The recording has too many bytes.", retriable=False)
SIGNED = "https://files.example/c-1.wav?X-Amz-Signature=hush"


def told_failed(held: Claim) -> OutgoingEvent:
    return events.failed(held, ERROR, source=SOURCE, failed_at=NOON)


def test_the_same_result_is_the_same_message() -> None:
    first, again = Finished(claim(lease_token=1)), Finished(claim(lease_token=2, attempts=3))

    assert first.event == again.event
    assert first.event.event_id == str(cleaned_event_id(first.held.result_id))


def test_the_same_result_at_another_time_still_has_the_same_id() -> None:
    end = Finished(claim())
    later = events.cleaned(
        end.held, end.report, end.renditions, source=SOURCE, cleaned_at=NOON + timedelta(hours=1)
    )

    assert (later.event_id, later.key, later.topic_suffix) == (
        end.event.event_id,
        b"acme/c-1",
        "call.cleaned",
    )


def test_another_chain_or_recording_is_another_event() -> None:
    told = [
        Finished(claim(recorded("c-1", **fields))).event.event_id
        for fields in ({}, {"chain": "loud"}, {"recording_id": "r-2"}, {"tenant_id": "other"})
    ]

    assert len(set(told)) == 4


def test_what_is_told_of_a_result() -> None:
    event = recorded(
        "c-1",
        recording={"url": SIGNED},
        channels=[{"role": "agent"}, {"role": "customer"}],
        metadata={"campaign": "spring"},
    )
    end = Finished(claim(event))

    told = CallCleaned.model_validate_json(end.event.value)

    assert told.result_id == end.held.result_id
    assert (told.tenant_id, told.call_id, told.recording_id) == ("acme", "c-1", "c-1")
    assert told.original.url == "https://files.example/c-1.wav"
    assert told.original.sha256 == end.report.input.sha256
    assert (told.chain.name, told.chain.digest) == ("telephony", end.held.chain.digest)
    assert [(channel.index, channel.role) for channel in told.channels] == [(0, "agent"), (1, "customer")]
    assert [(r.name, r.url, r.sha256, r.frames, r.duration_s) for r in told.renditions] == [
        (r.name, r.object.url, r.object.sha256, r.frames, 60.0) for r in end.renditions
    ]
    assert told.statistics.before.programme.integrated_lufs == -31.2
    assert told.metadata == {"campaign": "spring"}
    assert dict(end.event.headers)["traceparent"] == TRACEPARENT.encode()
    assert b"hush" not in end.event.value


def test_a_rendition_that_lay_there_already_is_told_as_it_lies_there() -> None:
    end = Finished(claim())
    there = replace(end.renditions[0].object, sha256="e" * 64, bytes=77)
    stored = [replace(end.renditions[0], object=there), *end.renditions[1:]]

    told = json.loads(events.cleaned(end.held, end.report, stored, source=SOURCE, cleaned_at=NOON).value)

    assert (told["renditions"][0]["sha256"], told["renditions"][0]["bytes"]) == ("e" * 64, 77)


def test_a_failure_is_the_same_event_within_its_round_and_another_in_the_next() -> None:
    first, again, next_round = (
        claim(attempts=4),
        claim(attempts=4, lease_token=9),
        claim(attempts=4, retry_round=1),
    )

    assert told_failed(first) == told_failed(again)
    assert told_failed(first).event_id == str(failed_event_id(first.result_id, 0))
    assert told_failed(next_round).event_id == str(failed_event_id(first.result_id, 1))
    assert told_failed(first).event_id != Finished(first).event.event_id


def test_what_is_told_of_a_failure() -> None:
    held = claim(recorded("c-1", recording={"url": SIGNED, "bytes": 12}, metadata={"a": "b"}), attempts=4)

    told = CallFailed.model_validate_json(told_failed(held).value)

    assert (told.error.code, told.error.message, told.error.retriable, told.error.attempts) == (
        "too_large",
        "The recording has too many bytes.",
        False,
        5,
    )
    assert (told.original.url, told.original.bytes, told.original.sha256) == (
        "https://files.example/c-1.wav",
        12,
        None,
    )
    assert told.metadata == {"a": "b"}
    assert told_failed(held).key == b"acme/c-1"


def test_an_errors_message_can_always_be_written_down() -> None:
    error = CallError("dsp_failed", "half \ud800, nul \x00, ümläut", retriable=True)

    assert error.message == str(error) == "half \\ud800, nul \\x00, ümläut"
    assert json.loads(events.failed(claim(), error, source=SOURCE, failed_at=NOON).value)["error"]["message"]
