"""The events that go out, as consumers on Kafka meet them."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import (
    MAX_RAW_BYTES,
    CallCleaned,
    CallErased,
    CallFailed,
    CallRejected,
    ChannelStatistics,
    Original,
    Statistics,
    encode,
    examples,
    header_texts,
    raw_text,
)
from tests.unit.schemas.messages import TRACEPARENT

BROKER_LIMIT_BYTES = 1024 * 1024
SOURCE = "/clearcall/test"
EVENTS: list[CallCleaned | CallFailed | CallRejected | CallErased] = [
    CallCleaned.model_validate(examples.CLEANED),
    CallFailed.model_validate(examples.FAILED),
    CallRejected.model_validate(examples.REJECTED),
    CallErased.model_validate(examples.ERASED),
]
AnyEvent = CallCleaned | CallFailed | CallRejected | CallErased


def type_of(event: AnyEvent) -> str:
    """Name an event in test ids."""
    return event.TYPE


def rejected(**changes: Any) -> CallRejected:
    """Give the example of `call.rejected` with some fields set."""
    return CallRejected.model_validate(examples.REJECTED | changes)


@pytest.mark.parametrize("event", EVENTS, ids=type_of)
def test_a_message_is_a_cloudevent_in_binary_mode(event: AnyEvent) -> None:
    message = encode(event, source=SOURCE, traceparent=TRACEPARENT)
    headers = dict(message.headers)
    times = [getattr(event, name) for name in type(event).model_fields if name.endswith("ed_at")]
    assert len(headers) == len(message.headers)
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": str(event.event_id).encode(),
        "ce_source": SOURCE.encode(),
        "ce_type": event.TYPE.encode(),
        "ce_subject": headers["ce_subject"],
        "ce_time": times[0].isoformat().replace("+00:00", "Z").encode(),
        "ce_traceparent": TRACEPARENT.encode(),
        "content-type": b"application/json",
        "traceparent": TRACEPARENT.encode(),
    }
    assert message.topic_suffix == event.TYPE
    assert message.event_id == str(event.event_id)
    assert json.loads(message.value) == json.loads(event.model_dump_json())


@pytest.mark.parametrize("event", EVENTS, ids=type_of)
def test_the_cloudevents_package_reads_what_was_written(event: AnyEvent) -> None:
    message = encode(event, source=SOURCE)
    read = from_binary_event(
        KafkaMessage(headers=dict(message.headers), key=message.key, value=message.value)
    )
    assert read.get_id() == str(event.event_id)
    assert read.get_type() == event.TYPE
    assert type(event).model_validate(read.get_data()) == event


@pytest.mark.parametrize(
    ("event", "example"),
    list(zip(EVENTS, [examples.CLEANED, examples.FAILED, examples.REJECTED, examples.ERASED], strict=True)),
)
def test_every_key_of_the_contract_is_written(event: AnyEvent, example: dict[str, Any]) -> None:
    assert json.loads(encode(event, source=SOURCE).value) == example


@pytest.mark.parametrize("event", EVENTS, ids=type_of)
def test_the_same_event_gives_the_same_bytes_in_compact_utf8(event: AnyEvent) -> None:
    first = encode(event, source=SOURCE, traceparent=TRACEPARENT)
    assert first == encode(event, source=SOURCE, traceparent=TRACEPARENT)
    compact = json.dumps(json.loads(first.value), separators=(",", ":"), ensure_ascii=False)
    assert first.value == compact.encode("utf-8")


def test_text_is_written_as_utf8_and_not_escaped() -> None:
    event = CallErased.model_validate(examples.ERASED | {"reason": "на прошення"})
    assert "на прошення".encode() in encode(event, source=SOURCE).value


def test_the_events_of_a_call_share_a_key_and_rejected_ones_have_none() -> None:
    keys = [encode(event, source=SOURCE).key for event in EVENTS]
    assert keys == [b"acme/c-42", b"acme/c-42", None, b"acme/c-42"]


def test_the_subject_is_the_recording_or_the_place_of_a_message_that_names_none() -> None:
    def subject(event: AnyEvent) -> bytes:
        return dict(encode(event, source=SOURCE).headers)["ce_subject"]

    assert subject(EVENTS[0]) == b"acme/c-42/r-1"
    assert subject(EVENTS[2]) == b"call.recorded/3/1207"
    assert subject(rejected(tenant_id="t", call_id="c")) == b"call.recorded/3/1207"
    assert subject(rejected(tenant_id="t", call_id="c", recording_id="r")) == b"t/c/r"


def test_without_a_trace_context_there_is_no_header_for_it() -> None:
    headers = dict(encode(EVENTS[0], source=SOURCE).headers)
    assert "traceparent" not in headers
    assert "ce_traceparent" not in headers


def test_an_address_goes_out_without_query_string_and_user_info() -> None:
    event = CallFailed.model_validate(
        examples.FAILED | {"original": {"url": "https://u:CANARY@h/c.wav?X-Amz-Signature=CANARY#CANARY"}}
    )
    assert event.original.url == "https://h/c.wav"
    assert b"CANARY" not in encode(event, source=SOURCE).value
    assert Original(url="https://h/c?CANARY").url == "https://h/c"


def test_statistics_keep_the_keys_that_a_later_version_adds() -> None:
    channel = ChannelStatistics.model_validate({"index": 0, "wow_percent": 0.1})
    assert json.loads(channel.model_dump_json())["wow_percent"] == 0.1


def test_statistics_of_before_are_read_and_what_they_did_not_have_is_null() -> None:
    """As they lie in the database and in topics."""
    told = {"programme": {"integrated_lufs": -30.4}, "channels": [{"index": 0, "clipped_samples": 3}]}
    read = Statistics.model_validate({"before": told}).before
    assert (read.programme.integrated_lufs, read.programme.short_term_max_lufs) == (-30.4, None)
    assert (read.channels[0].clipped_samples, read.channels[0].clipping_runs) == (3, None)
    assert json.loads(read.model_dump_json())["channels"][0]["dropouts"] is None


@pytest.mark.parametrize(
    ("key", "value"), [("silence_share", 1.1), ("activity_factor", -0.1), ("dropout_s", -1.0)]
)
def test_shares_and_times_have_bounds(key: str, value: float) -> None:
    with pytest.raises(ValidationError, match=key):
        ChannelStatistics.model_validate({"index": 0, key: value})


@pytest.mark.parametrize("level", [float("nan"), float("inf"), float("-inf")])
def test_a_level_is_a_number_or_null(level: float) -> None:
    assert ChannelStatistics(index=0, integrated_lufs=None).integrated_lufs is None
    with pytest.raises(ValidationError, match="finite"):
        ChannelStatistics(index=0, integrated_lufs=level)


def test_raw_bytes_come_back_and_long_ones_stay_at_home() -> None:
    value = bytes(range(256)) * 2048
    assert len(value) == MAX_RAW_BYTES
    assert base64.b64decode(raw_text(value) or "") == value
    assert raw_text(value + b"x") is None
    assert raw_text(None) is None
    assert raw_text(b"") == ""


@given(st.lists(st.tuples(st.text(st.characters()), st.none() | st.binary(max_size=40))))
@settings(deadline=None)
def test_any_header_becomes_text_that_json_and_the_database_can_keep(
    headers: list[tuple[str, bytes | None]],
) -> None:
    for text in header_texts(headers):
        assert json.loads(text.model_dump_json()) == {"name": text.name, "value": text.value}
        assert "\0" not in text.name + text.value
        (text.name + text.value).encode("utf-8")


def test_headers_are_shown_in_order_with_what_is_no_text_written_out() -> None:
    texts = header_texts([("b", b"\xff\0x"), ("a", "é".encode()), ("b", None)])
    assert [(text.name, text.value) for text in texts] == [("b", "\\xff\\x00x"), ("a", "é"), ("b", "")]


@pytest.mark.parametrize("value", [b"\xff", b"\\", b'"', b"\1", "\U0001f600".encode()])
def test_no_sender_can_make_call_rejected_too_long_for_a_broker(value: bytes) -> None:
    raw = value[:1] * MAX_RAW_BYTES
    event = CallRejected(
        event_id=UUID(int=1),
        rejected_at=datetime(2026, 11, 20, tzinfo=UTC),
        error={"code": "malformed_json", "message": "x" * 1200},
        topic="call.recorded",
        partition=0,
        offset=0,
        timestamp=None,
        sha256=hashlib.sha256(raw).hexdigest(),
        headers=header_texts([("n" * 1000, value * 100_000), *[("n", value * 10)] * 10_000]),
        raw=raw_text(raw),
    )
    assert event.headers
    message = encode(event, source=SOURCE, traceparent=TRACEPARENT)
    assert (
        len(message.value) + sum(len(name) + len(text) for name, text in message.headers) < BROKER_LIMIT_BYTES
    )
