"""The rules of each field of `call.recorded`, and what a publisher who breaks one is told."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from schemas import CallRecorded, decode
from tests.unit.schemas.messages import SMALLEST, as_json, event, refusal

URL = "s3://recordings/acme/c-1.wav"
ID_RULE = "must be 1 to 128 letters, digits or . _ : @ - that begin with a letter or digit"
NUMBER_PAST_FLOAT = 10**400


def recording(**changes: Any) -> dict[str, Any]:
    """Give an event whose recording has some fields set."""
    return event(recording={"url": URL} | changes)


def encoding(**changes: Any) -> dict[str, Any]:
    """Give an event for a headerless file whose encoding has some fields set."""
    return recording(encoding={"format": "slin"} | changes)


def taken(value: dict[str, Any]) -> CallRecorded:
    """Give what the event is understood as."""
    return decode(as_json(value), []).event


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "call_id is missing (also at fault: recording)"),
        ({"call_id": "c"}, "recording is missing"),
        (event(recording={}), "recording.url is missing"),
        (event(call_id=None), "call_id must be text, got null"),
        (event(call_id=42), "call_id must be text, got 42"),
        (event(call_id=""), f'call_id {ID_RULE}, got ""'),
        (event(call_id="../c"), f'call_id {ID_RULE}, got "../c"'),
        (event(call_id="c%2e%2e"), f'call_id {ID_RULE}, got "c%2e%2e"'),
        (event(call_id="c'--"), f'call_id {ID_RULE}, got "c\'--"'),
        (event(call_id="c\n"), f'call_id {ID_RULE}, got "c\\n"'),
        (event(call_id="\u202ec"), f'call_id {ID_RULE}, got "\\u202ec"'),
        (event(call_id="c" * 129), f'call_id {ID_RULE}, got "{"c" * 80}…"'),
        (event(tenant_id="a/b"), f'tenant_id {ID_RULE}, got "a/b"'),
        (event(recording_id=""), f'recording_id {ID_RULE}, got ""'),
        (event(recording="x"), 'recording must be an object, got "x"'),
        (recording(url=7), "recording.url must be text, got 7"),
        (recording(url="/x.wav"), "recording.url must begin with s3://, https://, http:// or file://"),
        (recording(url="s3://b/" + "k" * 4096), "recording.url must have at most 4096 characters, has 4103"),
        (recording(sha256="ab"), 'recording.sha256 must match ^[0-9A-Fa-f]{64}$, got "ab"'),
        (recording(bytes="1"), 'recording.bytes must be a whole number, got "1"'),
        (recording(bytes=1.5), "recording.bytes must be a whole number, got 1.5"),
        (recording(bytes=True), "recording.bytes must be a whole number, got true"),
        (recording(bytes=-1), "recording.bytes must be at least 0, got -1"),
        (recording(bytes=2**63), f"recording.bytes must be at most {2**63 - 1}, got {2**63}"),
        (recording(encoding=[]), "recording.encoding must be an object, got a list"),
        (recording(encoding={}), "recording.encoding.format is missing"),
        (
            encoding(format="mp3"),
            "recording.encoding.format must be 'slin', 'ulaw', 'alaw', 'gsm' or 'g722', got \"mp3\"",
        ),
        (encoding(sample_rate_hz=7999), "recording.encoding.sample_rate_hz must be at least 8000, got 7999"),
        (
            encoding(sample_rate_hz=48001),
            "recording.encoding.sample_rate_hz must be at most 48000, got 48001",
        ),
        (encoding(channels=0), "recording.encoding.channels must be at least 1, got 0"),
        (encoding(channels=9), "recording.encoding.channels must be at most 8, got 9"),
        (event(channels={}), "channels must be a list, got an object"),
        (event(channels=["agent"]), 'channels[0] must be an object, got "agent"'),
        (event(channels=[{}]), "channels[0].role is missing"),
        (
            event(channels=[{"role": "agent"}, {"role": "Kim B"}]),
            'channels[1].role must match ^[a-z][a-z0-9_-]{0,31}$, got "Kim B"',
        ),
        (event(channels=[{"role": "a"}] * 9), "channels must have at most 8 entries, has 9"),
        (
            event(channels=[{"role": "a", "name": "n" * 257}]),
            "channels[0].name must have at most 256 characters, has 257",
        ),
        (event(direction="in"), "direction must be 'inbound', 'outbound' or 'internal', got \"in\""),
        (event(agent_id="a" * 257), "agent_id must have at most 256 characters, has 257"),
        (event(queue=["sales"]), "queue must be text, got a list"),
        (event(pauses=[{"start_s": 1}]), "pauses[0].end_s is missing"),
        (
            event(pauses=[{"start_s": 0, "end_s": 1}] * 2 + [{"start_s": 9.5, "end_s": 4}]),
            "pauses[2].end_s must be greater than start_s, got 4.0 after 9.5",
        ),
        (
            event(pauses=[{"start_s": 1, "end_s": 1}]),
            "pauses[0].end_s must be greater than start_s, got 1.0 after 1.0",
        ),
        (event(pauses=[{"start_s": -1, "end_s": 1}]), "pauses[0].start_s must be at least 0.0, got -1"),
        (event(pauses=[{"start_s": "0", "end_s": 1}]), 'pauses[0].start_s must be a number, got "0"'),
        (event(pauses=[{"start_s": False, "end_s": 1}]), "pauses[0].start_s must be a number, got false"),
        (
            event(pauses=[{"start_s": 0, "end_s": NUMBER_PAST_FLOAT}]),
            f"pauses[0].end_s must be a number, got 1{'0' * 79}…",
        ),
        (
            event(pauses=[{"start_s": 0, "end_s": 1}] * 1001),
            "pauses must have at most 1000 entries, has 1001",
        ),
        (event(retention={"days": -1}), "retention.days must be at least 0, got -1"),
        (event(retention={"days": 40_000}), "retention.days must be at most 36500, got 40000"),
        (event(retention={"legal_hold": "yes"}), 'retention.legal_hold must be true or false, got "yes"'),
        (event(retention={"legal_hold": 0}), "retention.legal_hold must be true or false, got 0"),
        (event(chain="../x"), 'chain must match ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$, got "../x"'),
        (event(metadata=[]), "metadata must be an object, got a list"),
        (event(metadata={"a": 1}), "metadata.a must be text, got 1"),
        (event(metadata={"a b": None}), 'metadata["a b"] must be text, got null'),
        (event(metadata={"a": "x" * 1025}), "metadata.a must have at most 1024 characters, has 1025"),
        (event(metadata={"": "x"}), 'metadata[""] must have at least 1 character, got ""'),
        (
            event(metadata={"k" * 129: "x"}),
            f'metadata["{"k" * 80}…"] must have at most 128 characters, has 129',
        ),
        (event(metadata={str(n): "x" for n in range(65)}), "metadata must have at most 64 entries, has 65"),
        (
            event(recorded_at=1700000000),
            "recorded_at must be a time as in 2026-11-20T10:00:00Z, got 1700000000",
        ),
        (
            event(recorded_at="1700000000"),
            'recorded_at must be a time as in 2026-11-20T10:00:00Z, got "1700000000"',
        ),
        (
            event(recorded_at="2026-11-20"),
            'recorded_at must be a time as in 2026-11-20T10:00:00Z, got "2026-11-20"',
        ),
        (
            event(recorded_at="2026-11-20T10:00:00"),
            'recorded_at must say its time zone, as in 2026-11-20T10:00:00Z, got "2026-11-20T10:00:00"',
        ),
        (
            event(recorded_at="0001-01-01T00:00:00+14:00"),
            'recorded_at must be a time from year 1 to 9999 in UTC, got "0001-01-01T00:00:00+14:00"',
        ),
        (
            {"call_id": 1, "direction": 2, "queue": 3, "chain": 4, "agent_id": 5},
            "call_id must be text, got 1 (also at fault: recording, direction, agent_id, …)",
        ),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_a_wrong_field_is_named_with_its_rule_and_its_value(value: dict[str, Any], message: str) -> None:
    error = refusal(as_json(value))
    assert error.message == message
    assert error.field == re.split(" must | is missing", message, maxsplit=1)[0]
    assert error.code == ("missing_field" if " is missing" in message else "invalid_field")


@pytest.mark.parametrize("month", ["13", "00"])
def test_a_time_that_does_not_exist_is_refused(month: str) -> None:
    error = refusal(as_json(event(recorded_at=f"2026-{month}-20T10:00:00Z")))
    assert error.field == "recorded_at"
    assert error.message.startswith("recorded_at is not valid:")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-20T10:00:00Z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T12:00:00+02:00", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20t10:00:00z", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20 10:00:00+0000", datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ("2026-11-20T10:00:00.123456789Z", datetime(2026, 11, 20, 10, 0, 0, 123456, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_time_is_kept_in_utc(text: str, time: datetime) -> None:
    recorded_at = taken(event(recorded_at=text)).recorded_at
    assert recorded_at == time
    assert recorded_at is not None
    assert recorded_at.tzinfo is UTC


@pytest.mark.parametrize("version", [0, 2, -1, 1.5, "1", True, False, [1], {}, 10**30])
def test_an_unknown_schema_version_is_refused_before_anything_else_is_looked_at(version: object) -> None:
    error = refusal(as_json({"call_id": "c-1", "schema_version": version}))
    assert (error.code, error.field) == ("unknown_schema_version", "schema_version")
    assert error.identity is not None
    assert error.identity.call_id == "c-1"


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """JSON has one kind of number, and the published schema counts 8000.0 as an integer."""
    value = encoding(sample_rate_hz=16000.0, channels=2.0) | {
        "schema_version": 1.0,
        "retention": {"days": 90.0},
    }
    found = taken(value).recording.encoding
    assert found is not None
    assert (found.sample_rate_hz, found.channels) == (16000, 2)
    assert isinstance(found.sample_rate_hz, int)
    assert taken(value).retention.days == 90


@pytest.mark.parametrize("name", ["slin", "ulaw", "alaw", "gsm"])
def test_a_headerless_file_is_taken_for_one_channel_of_8_khz_unless_said(name: str) -> None:
    found = taken(encoding(format=name)).recording.encoding
    assert found is not None
    assert (found.format, found.sample_rate_hz, found.channels) == (name, 8000, 1)


def test_a_hash_is_kept_in_lower_case() -> None:
    assert taken(recording(sha256="AB" * 32)).recording.sha256 == "ab" * 32


def test_the_limits_themselves_are_allowed() -> None:
    largest = event(
        tenant_id="t" * 128,
        recording={"url": "s3://b/" + "k" * 4089, "bytes": 2**63 - 1},
        channels=[{"role": "a" * 32, "name": "n" * 256}] * 8,
        queue="\U0001f600" * 256,
        pauses=[{"start_s": 0, "end_s": 1e9}] * 1000,
        retention={"days": 36500, "legal_hold": True},
        chain="c" * 64,
        metadata={f"{number:0128}": "\U0001f600" * 1024 for number in range(64)},
    )
    assert len(taken(largest).metadata) == 64


def test_what_was_taken_does_not_change() -> None:
    found = taken(SMALLEST)
    with pytest.raises(ValidationError, match="frozen"):
        found.call_id = "c-2"  # type: ignore[misc]
