"""Whatever the bytes, the answer is an event or one `SchemaError`: anything else would stop the partition."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import ERROR_CODES, MAX_EVENT_BYTES, CallRecorded, Identity, SchemaError, decode, is_identifier
from schemas.examples import RECORDED
from tests.unit.schemas.messages import BINARY_HEADERS, SMALLEST, as_json, event, refusal, structured

FOUND = Identity("default", "c-1", "c-1")
BEGUN = b'{"call_id": "c-1", "recording": {"url": "s3://b/k"}, '

NAMES = st.sampled_from(
    [
        "content-type",
        "ce_type",
        "ce_source",
        "ce_id",
        "ce_specversion",
        "ce_time",
        "traceparent",
        "ce_",
        "é",
        "",
    ]
)
HEADER_VALUES = st.binary(max_size=40) | st.sampled_from(
    [b"application/cloudevents+json", b"application/json", b"call.recorded", b"1.0", b"/x", b"e-1"]
)
HEADERS = st.lists(st.tuples(NAMES, HEADER_VALUES), max_size=6) | st.just(BINARY_HEADERS)

# Lone surrogates, NUL, bidirectional marks and the rest of what a text may hold in JSON.
TEXTS = st.text(st.characters(), max_size=20) | st.sampled_from(
    ["\0", "\ud800", "\udfff", "\u202e", "../x", "%2e"]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def check_error(error: SchemaError) -> None:
    """Check what must hold of every error: it is stored, sent and shown."""
    assert error.code in ERROR_CODES
    assert error.message == str(error)
    assert 0 < len(error.message) < 1200
    assert "\0" not in error.message
    error.message.encode("utf-8")
    assert error.identity is None or all(part is None or is_identifier(part) for part in error.identity)
    assert not error.retriable


def answer(value: bytes | None, headers: list[tuple[str, bytes]]) -> CallRecorded | SchemaError:
    """Decode, and check what must hold of every answer."""
    try:
        decoded = decode(value, headers)
    except SchemaError as error:
        check_error(error)
        return error
    text = decoded.event.model_dump_json()
    # What Postgres and the events can keep: UTF-8 without NUL, and times that exist in UTC.
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode("utf-8")
    assert CallRecorded.model_validate_json(text) == decoded.event
    return decoded.event


@given(st.none() | st.binary(max_size=300), HEADERS)
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_answered(value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    answer(value, headers)


@given(JSON_VALUES, HEADERS)
@settings(deadline=None, max_examples=200)
def test_any_json_is_answered(value: Any, headers: list[tuple[str, bytes]]) -> None:
    answer(json.dumps(value).encode(), headers)
    answer(as_json(structured(value)), headers)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places of all values in a JSON value."""
    if isinstance(value, dict):
        return [path, *(found for key, inner in value.items() for found in paths(inner, (*path, key)))]
    if isinstance(value, list):
        return [path, *(found for index, inner in enumerate(value) for found in paths(inner, (*path, index)))]
    return [path]


PLACES = [path for path in paths(RECORDED) if path]


@given(st.sampled_from(PLACES), JSON_VALUES | st.sampled_from([8000.0, 1e300, -0.0, 10**400, "1", True]))
@settings(deadline=None, max_examples=300)
def test_any_value_in_any_place_is_answered(place: tuple[Any, ...], replacement: Any) -> None:
    changed = json.loads(json.dumps(RECORDED))
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = replacement
    answer(json.dumps(changed).encode(), [])


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=3))
@settings(deadline=None, max_examples=200)
def test_a_good_event_with_some_bytes_overwritten_is_answered(at: int, by: bytes) -> None:
    good = as_json(RECORDED)
    at %= len(good)
    answer(good[:at] + by + good[at + len(by) :], [])


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=100)
def test_an_event_that_is_cut_short_is_refused(at: int) -> None:
    good = as_json(RECORDED)
    assert isinstance(answer(good[: at % len(good)], []), SchemaError)


@pytest.mark.parametrize(
    ("value", "code", "identity"),
    [
        (None, "null_value", None),
        (b"", "empty_value", None),
        (b" \r\n\t ", "empty_value", None),
        (b"\xef\xbb\xbf", "empty_value", None),
        (b"null", "not_an_object", None),
        (b"[]", "not_an_object", None),
        (b'"call"', "not_an_object", None),
        (b"42", "not_an_object", None),
        (b"nope", "malformed_json", None),
        (b"{'call_id': 'c-1'}", "malformed_json", None),
        (as_json(SMALLEST) + b"}", "malformed_json", FOUND),
        (as_json(SMALLEST)[:-1], "malformed_json", FOUND),
        (as_json(SMALLEST)[:-1] + b",}", "malformed_json", FOUND),
        (b'{"call_id": "c-1",\n "recording": nope}', "malformed_json", FOUND),
        (BEGUN + b'"x": NaN}', "malformed_json", FOUND),
        (BEGUN + b'"x": -Infinity}', "malformed_json", FOUND),
        (BEGUN + b'"x": "a\nb"}', "malformed_json", FOUND),
        (BEGUN + b'"x": ' + b"9" * 5000 + b"}", "malformed_json", FOUND),
        (BEGUN + b'"x": "\xff"}', "not_utf8", FOUND),
        (BEGUN + b'"x": "\xed\xa0\x80"}', "not_utf8", FOUND),
        (BEGUN + b'"x": "\xc0\x80"}', "not_utf8", FOUND),
        (b"\xff\xfe" + '{"call_id": "c-1"}'.encode("utf-16-le"), "not_utf8", None),
        (BEGUN + b'"x": "a\\u0000b"}', "nul_character", FOUND),
        (BEGUN + b'"\\u0000": 1}', "nul_character", FOUND),
        (BEGUN + b'"x": [[{"y": ["\\u0000"]}]]}', "nul_character", FOUND),
        (BEGUN + b'"x": "a\0b"}', "nul_character", FOUND),
        (b'{"call_id": "c-1\\u0000", "recording_id": "r"}', "nul_character", Identity("default", None, "r")),
        (BEGUN + b'"x": "\\ud800"}', "lone_surrogate", FOUND),
        (BEGUN + b'"x": "\\udc00\\ud800"}', "lone_surrogate", FOUND),
        (BEGUN + b'"\\udfff": 1}', "lone_surrogate", FOUND),
        (BEGUN + b'"x": "\\ud800\\u0041"}', "lone_surrogate", FOUND),
        (as_json(structured(event(x="\ud800"))), "lone_surrogate", FOUND),
        (b"[" * 100_000, "too_deep", None),
        (BEGUN + b'"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep", FOUND),
        (BEGUN + b'"x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "too_deep", FOUND),
        (BEGUN + b'"x": "\\ud800", "y": ' + b"[" * 100_000, "malformed_json", FOUND),
        (BEGUN + b'"x": "' + b"a" * 2 * MAX_EVENT_BYTES + b'"}', "too_large", FOUND),
        (b" " * (MAX_EVENT_BYTES + 1), "too_large", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_each_fault_has_its_code_and_the_call_is_still_known(
    value: bytes | None, code: str, identity: Identity | None
) -> None:
    error = refusal(value)
    assert (error.code, error.identity) == (code, identity)


def test_an_event_of_the_full_size_is_taken() -> None:
    start = BEGUN + b'"x": "'
    value = start + b"a" * (MAX_EVENT_BYTES - len(start) - 2) + b'"}'
    assert len(value) == MAX_EVENT_BYTES
    assert decode(value, []).event.call_id == "c-1"
    assert refusal(value + b" ").code == "too_large"


def test_a_written_out_backslash_before_u0000_is_no_nul() -> None:
    assert decode(as_json(event(queue="a\\u0000b")), []).event.queue == "a\\u0000b"


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert decode(BEGUN + b'"queue": "\\ud83d\\ude00"}', []).event.queue == "\U0001f600"


@pytest.mark.parametrize(
    "many", [{"pauses": [7] * 300_000}, {"metadata": {str(n): n for n in range(60_000)}}]
)
def test_a_great_many_wrong_entries_make_one_short_error(many: dict[str, Any]) -> None:
    error = refusal(as_json(event(**many)))
    assert error.code == "invalid_field"
    assert "entries, has" in error.message


CANARY = "CANARY-7f3a"


@pytest.mark.parametrize(
    "changes",
    [
        {"recording": {"url": f"https://h/x\n?X-Amz-Signature={CANARY}"}},
        {"recording": {"url": f"https://u:{CANARY}@h/x"}},
        {"recording": {"url": f"ftp://h/x?sig={CANARY}"}},
        {"recording": {"url": f"https:/h/x?sig={CANARY}"}},
        {"recording": {"url": "s3://b/" + CANARY * 1000}},
        {"recording": f"https://h/x?sig={CANARY}"},
        {"recording": {"url": ["https://h/x?sig=" + CANARY]}},
        {"call_id": f"https://h/x?sig={CANARY}"},
        {"chain": f"/x?sig={CANARY}"},
        {"metadata": {f"https://h/?sig={CANARY}": 7}},
        {"recorded_at": f"https://u:{CANARY}@h/"},
    ],
)
def test_no_message_tells_a_key(changes: dict[str, Any]) -> None:
    error = refusal(as_json(event(**changes)))
    assert CANARY not in error.message
    assert CANARY not in str(error.field)
