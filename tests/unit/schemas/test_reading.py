"""The three ways in which `call.recorded` may come, taken alike."""

import base64
import timeit
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas import (
    CallRecorded,
    Encoding,
    Identity,
    Party,
    Pause,
    Recording,
    Retention,
    decode,
    read_traceparent,
)
from schemas.examples import RECORDED
from tests.unit.schemas.messages import (
    BINARY_HEADERS,
    SMALLEST,
    TRACEPARENT,
    as_json,
    event,
    refusal,
    structured,
)

# The example of the interface description, word for word.
CONTRACT_EXAMPLE = b"""
{"schema_version": 1,
 "tenant_id": "acme", "call_id": "c-42", "recording_id": "r-1", "recorded_at": "2026-11-20T10:00:00Z",
 "recording": {"url": "s3://recordings/acme/c-42.wav", "sha256": null, "bytes": null,
               "encoding": {"format": "ulaw", "sample_rate_hz": 8000, "channels": 1}},
 "channels": [{"role": "agent", "name": "Kim"}, {"role": "customer"}],
 "direction": "inbound", "agent_id": "a-7", "queue": "sales",
 "pauses": [{"start_s": 61.0, "end_s": 92.5, "reason": "payment"}],
 "retention": {"days": 90, "legal_hold": false},
 "chain": "telephony",
 "metadata": {"campaign": "spring"}}
"""


def test_the_whole_event_is_understood() -> None:
    assert decode(CONTRACT_EXAMPLE, []).event == CallRecorded(
        schema_version=1,
        tenant_id="acme",
        call_id="c-42",
        recording_id="r-1",
        recorded_at=datetime(2026, 11, 20, 10, tzinfo=UTC),
        recording=Recording(
            url="s3://recordings/acme/c-42.wav",
            encoding=Encoding(format="ulaw", sample_rate_hz=8000, channels=1),
        ),
        channels=(Party(role="agent", name="Kim"), Party(role="customer")),
        direction="inbound",
        agent_id="a-7",
        queue="sales",
        pauses=(Pause(start_s=61.0, end_s=92.5, reason="payment"),),
        retention=Retention(days=90, legal_hold=False),
        chain="telephony",
        metadata={"campaign": "spring"},
    )


def test_call_id_and_url_are_enough() -> None:
    taken = decode(as_json(SMALLEST), []).event
    assert taken.identity == Identity("default", "c-1", "c-1")
    assert taken.schema_version == 1
    assert (taken.channels, taken.pauses, taken.metadata) == ((), (), {})
    assert taken.retention == Retention(days=None, legal_hold=False)
    assert taken.recording == Recording(url="s3://recordings/acme/c-1.wav")
    rest = (taken.recorded_at, taken.direction, taken.agent_id, taken.queue, taken.chain)
    assert rest == (None,) * 5


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (as_json(RECORDED), []),
        (b"\xef\xbb\xbf" + as_json(RECORDED), []),
        (b" \n\t" + as_json(RECORDED) + b"\r\n", []),
        (as_json(RECORDED), [("content-type", b"application/json")]),
        (as_json(RECORDED), BINARY_HEADERS),
        (as_json(RECORDED), [(name.upper(), value) for name, value in BINARY_HEADERS]),
        (as_json(RECORDED), [("ce_type", b"call.recorded"), ("ce_source", b"/pbx/7")]),
        (as_json(RECORDED), [*BINARY_HEADERS, ("ce_my_ext", b"\xff"), ("ce_time", b"yesterday")]),
        (as_json(structured(RECORDED)), []),
        (as_json(structured(RECORDED)), [("content-type", b"application/cloudevents+json")]),
        (as_json(structured(RECORDED)), [("Content-Type", b"application/cloudevents+json; charset=UTF-8")]),
        # The content type says structured: binary headers beside it are not read.
        (
            as_json(structured(RECORDED)),
            [*BINARY_HEADERS, ("content-type", b"application/cloudevents+json"), ("ce_type", b"x")],
        ),
        (as_json(structured(RECORDED, type="org.acme.pbx.call.recorded", my_ext=[1], time="yesterday")), []),
        (
            as_json(
                {
                    key: value
                    for key, value in structured(
                        None, data_base64=base64.b64encode(as_json(RECORDED)).decode()
                    ).items()
                    if key != "data"
                }
            ),
            [],
        ),
    ],
)
def test_bare_json_and_both_cloudevents_modes_are_taken_alike(
    value: bytes, headers: list[tuple[str, bytes]]
) -> None:
    assert decode(value, headers).event == CallRecorded.model_validate(RECORDED)


def test_unknown_fields_are_kept_out_of_the_way() -> None:
    more: dict[str, Any] = {
        "specversion": "9",
        "consent": {"given": True},
        "recording": {"url": "s3://recordings/acme/c-1.wav", "codec": ["x"]},
        "channels": [{"role": "agent", "leg": 1}],
    }
    taken = decode(as_json(event(**more)), []).event
    assert taken == decode(as_json(event(channels=[{"role": "agent"}])), []).event


def test_null_is_the_same_as_absent() -> None:
    optional = [name for name, field in CallRecorded.model_fields.items() if not field.is_required()]
    nulls: dict[str, Any] = dict.fromkeys(optional)
    assert len(optional) == 12
    assert decode(as_json(event(**nulls)), []) == decode(as_json(SMALLEST), [])


def test_of_a_key_that_comes_twice_the_last_holds() -> None:
    value = b'{"call_id":"first","call_id":"second","recording":{"url":"s3://b/k"}}'
    assert decode(value, []).event.call_id == "second"


def test_of_a_header_that_comes_twice_the_last_holds() -> None:
    headers = [("ce_type", b"something.else"), *BINARY_HEADERS]
    assert decode(as_json(SMALLEST), headers).event.call_id == "c-1"


def test_what_was_taken_can_be_stored_as_json_and_read_again() -> None:
    taken = decode(as_json(RECORDED), []).event
    assert CallRecorded.model_validate_json(taken.model_dump_json()) == taken


@pytest.mark.parametrize(
    ("value", "headers", "code", "field"),
    [
        (as_json(SMALLEST), [("ce_type", b"call.cleaned"), ("ce_source", b"/x")], "wrong_event_type", "type"),
        (
            as_json(SMALLEST),
            [("ce_type", b"xcall.recorded"), ("ce_source", b"/x")],
            "wrong_event_type",
            "type",
        ),
        (
            as_json(SMALLEST),
            [("ce_type", b"call.recorded.v2"), ("ce_source", b"/x")],
            "wrong_event_type",
            "type",
        ),
        (as_json(structured(SMALLEST, type="call.erased")), [], "wrong_event_type", "type"),
        (as_json(SMALLEST), [("ce_type", b"call.recorded")], "invalid_cloudevent", "ce_source"),
        (
            as_json(SMALLEST),
            [("ce_specversion", b"1.0"), ("ce_source", b"/x")],
            "invalid_cloudevent",
            "ce_type",
        ),
        (
            as_json(SMALLEST),
            [*BINARY_HEADERS, ("ce_specversion", b"0.3")],
            "invalid_cloudevent",
            "ce_specversion",
        ),
        (as_json(SMALLEST), [*BINARY_HEADERS, ("ce_id", b"")], "invalid_cloudevent", "ce_id"),
        (as_json(SMALLEST), [*BINARY_HEADERS, ("ce_source", b"\xff")], "invalid_cloudevent", None),
        (as_json(structured(SMALLEST, specversion="2.0")), [], "invalid_cloudevent", "specversion"),
        (as_json(structured(SMALLEST, specversion=1)), [], "invalid_cloudevent", "specversion"),
        (as_json(structured(SMALLEST, type=7)), [], "invalid_cloudevent", "type"),
        (as_json(structured(SMALLEST, source=None)), [], "invalid_cloudevent", "source"),
    ],
)
def test_what_is_no_cloudevent_of_ours_is_refused_and_still_found_by_its_call(
    value: bytes, headers: list[tuple[str, bytes]], code: str, field: str | None
) -> None:
    error = refusal(value, headers)
    assert (error.code, error.field) == (code, field)
    assert error.identity == Identity("default", "c-1", "c-1")


@pytest.mark.parametrize(
    ("value", "headers", "code"),
    [
        (b"[]", [("content-type", b"application/cloudevents+json")], "not_an_object"),
        (b"{}", [("content-type", b"application/cloudevents+json")], "invalid_cloudevent"),
        (b"[]", [("content-type", b"application/cloudevents-batch+json")], "invalid_cloudevent"),
        (b"\0\1", [("content-type", b"application/cloudevents+avro")], "invalid_cloudevent"),
        (b"\0\1", [("content-type", b"application/cloudevents\xff")], "invalid_cloudevent"),
        (as_json(structured(None)), [], "not_an_object"),
        (as_json(structured("text")), [], "not_an_object"),
        (as_json(structured(structured(SMALLEST))), [], "missing_field"),
        (
            b'{"specversion":"1.0","type":"call.recorded","source":"/x","id":"1"}',
            [("content-type", b"application/cloudevents+json")],
            "missing_field",
        ),
        (
            b'{"specversion":"1.0","type":"call.recorded","source":"/x","data_base64":"\xc3\xa9"}',
            [],
            "invalid_cloudevent",
        ),
        (
            b'{"specversion":"1.0","type":"call.recorded","source":"/x","data_base64":"x"}',
            [],
            "invalid_cloudevent",
        ),
        (
            b'{"specversion":"1.0","type":"call.recorded","source":"/x","data_base64":"W1!s="}',
            [],
            "invalid_cloudevent",
        ),
        (b'{"specversion":"1.0","type":"call.recorded","source":"/x","data_base64":7}', [], "not_an_object"),
        (
            b'{"specversion":"1.0","type":"call.recorded","source":"/x","data_base64":"W1s="}',
            [],
            "malformed_json",
        ),
        (b"", BINARY_HEADERS, "empty_value"),
        (b"nope", BINARY_HEADERS, "malformed_json"),
        (None, BINARY_HEADERS, "null_value"),
    ],
)
def test_a_broken_cloudevent_is_refused(
    value: bytes | None, headers: list[tuple[str, bytes]], code: str
) -> None:
    assert refusal(value, headers).code == code


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([("traceparent", TRACEPARENT.encode())], TRACEPARENT),
        ([("Traceparent", TRACEPARENT.encode())], TRACEPARENT),
        ([("ce_traceparent", TRACEPARENT.encode())], TRACEPARENT),
        (
            [
                ("ce_traceparent", b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-00"),
                ("traceparent", TRACEPARENT.encode()),
            ],
            TRACEPARENT,
        ),
        ([("traceparent", b"rubbish"), ("ce_traceparent", TRACEPARENT.encode())], TRACEPARENT),
        ([("traceparent", TRACEPARENT.encode() + b"\n")], None),
        ([("traceparent", TRACEPARENT.upper().encode())], None),
        ([("traceparent", TRACEPARENT.replace("00-", "ff-", 1).encode())], None),
        ([("traceparent", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01")], None),
        ([("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01")], None),
        ([("traceparent", b"\xff\xfe")], None),
    ],
)
def test_a_valid_trace_context_is_found_whatever_becomes_of_the_event(
    headers: list[tuple[str, bytes]], found: str | None
) -> None:
    assert read_traceparent(headers) == found
    # A lone extension is no sign of binary mode: the body is read as bare JSON.
    assert decode(as_json(SMALLEST), headers).traceparent == found


def test_a_structured_cloudevent_carries_the_trace_context_in_itself() -> None:
    value = as_json(structured(SMALLEST, traceparent=TRACEPARENT))
    assert decode(value, []).traceparent == TRACEPARENT
    assert decode(as_json(structured(SMALLEST, traceparent=["x"])), []).traceparent is None


def test_a_header_without_a_value_is_as_an_empty_one() -> None:
    headers: Any = [("traceparent", None), ("content-type", None)]
    assert decode(as_json(SMALLEST), headers).traceparent is None


def test_a_typical_event_is_read_in_a_fifth_of_a_millisecond() -> None:
    value = as_json(RECORDED)
    runs = timeit.repeat(lambda: decode(value, BINARY_HEADERS), number=50, repeat=20)
    assert min(runs) / 50 < 200e-6
