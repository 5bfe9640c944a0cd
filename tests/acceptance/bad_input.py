"""What a topic can hold and no call can be made of: events that are none, and recordings that cannot be cleaned."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.acceptance.stacks import Stack
from tests.support.recordings import SAMPLE_RATE_HZ, Record, TelephoneCall

MAX_RAW_IN_EVENT_BYTES = 512 * 1024
"""Of a rejected value that ``call.rejected`` carries along."""

# What a worker is told, so that little is too much.
MAX_ATTEMPTS = 2
MAX_RECORDING_BYTES = 100_000
MAX_DURATION_S = 5.0


@dataclass(frozen=True, kw_only=True)
class BadEvent:
    """A record that is no event: why it is rejected, and the call that can be read in it all the same."""

    value: bytes | None
    code: str
    field: str | None = None
    call_id: str | None = None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def record(self) -> Record:
        """As it is published."""
        return Record(value=self.value, headers=self.headers)


@dataclass(frozen=True, kw_only=True)
class BadRecording:
    """A sound event whose recording cannot be cleaned: ``recording`` is that part of the event."""

    call_id: str
    recording: Mapping[str, Any]
    code: str
    says: str
    attempts: int = 1

    @property
    def retriable(self) -> bool:
        """Whether the reason is one that may pass."""
        return self.attempts > 1

    @property
    def record(self) -> Record:
        """As it is published."""
        return Record(value=json.dumps({"call_id": self.call_id, "recording": self.recording}).encode())


def event_bytes(call_id: Any, url: str = "s3://anywhere/at-all.wav", **more: Any) -> bytes:
    """An event that says no more than it must."""
    return json.dumps({"call_id": call_id, "recording": {"url": url}, **more}).encode()


def bad_events() -> list[BadEvent]:
    """Everything that a topic can hold and an event cannot be."""
    return [
        BadEvent(
            value=b'{"call_id": "cut-off", "recording": {"url": "s3://b',
            code="malformed_json",
            call_id="cut-off",
        ),
        BadEvent(value=event_bytes(42), code="invalid_field", field="call_id"),
        BadEvent(
            value=b'{"call_id": "no-object", "recording": "s3://bucket/key"}',
            code="invalid_field",
            field="recording",
            call_id="no-object",
        ),
        BadEvent(
            value=event_bytes("no-text", metadata={"attempt": 3}),
            code="invalid_field",
            field="metadata.attempt",
            call_id="no-text",
        ),
        BadEvent(
            value=event_bytes("one-role", channels="agent"),
            code="invalid_field",
            field="channels",
            call_id="one-role",
        ),
        BadEvent(value=b'["call_id", "listed"]', code="not_an_object"),
        BadEvent(value=event_bytes("../../etc/passwd"), code="invalid_field", field="call_id"),
        BadEvent(
            value=event_bytes("climbs", tenant_id="../acme"),
            code="invalid_field",
            field="tenant_id",
            call_id="climbs",
        ),
        BadEvent(
            value=event_bytes("hides", recording_id="..%2f.."),
            code="invalid_field",
            field="recording_id",
            call_id="hides",
        ),
        BadEvent(value=event_bytes("nul\x00"), code="nul_character"),
        BadEvent(
            value=event_bytes("nul-inside", queue="sales\x00"), code="nul_character", call_id="nul-inside"
        ),
        BadEvent(value=event_bytes("half", queue="\ud83d"), code="lone_surrogate", call_id="half"),
        BadEvent(
            value=b'{"call_id": "abyss", "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            code="too_deep",
            call_id="abyss",
        ),
        BadEvent(value=event_bytes("huge", queue="x" * 2 * 1024 * 1024), code="too_large", call_id="huge"),
        BadEvent(value=_sized(MAX_RAW_IN_EVENT_BYTES), code="malformed_json", call_id="sized"),
        BadEvent(value=_sized(MAX_RAW_IN_EVENT_BYTES + 1), code="malformed_json", call_id="sized"),
        BadEvent(value=None, code="null_value"),
        BadEvent(value=b"", code="empty_value"),
        BadEvent(value=b'{"call_id": "latin", "queue": "caf\xe9"}', code="not_utf8", call_id="latin"),
        BadEvent(
            value=event_bytes("tomorrow", schema_version=2),
            code="unknown_schema_version",
            field="schema_version",
            call_id="tomorrow",
        ),
        BadEvent(value=b'{"call_id": "nowhere"}', code="missing_field", field="recording", call_id="nowhere"),
        BadEvent(
            value=event_bytes("erased"),
            code="wrong_event_type",
            field="type",
            call_id="erased",
            headers=(
                ("ce_specversion", b"1.0"),
                ("ce_id", b"1"),
                ("ce_source", b"/telephony"),
                ("ce_type", b"call.erased"),
            ),
        ),
        BadEvent(
            value=event_bytes("garbled"),
            code="invalid_cloudevent",
            call_id="garbled",
            headers=(("ce_specversion", b"\xff\xfe"), ("ce_type", b"call.recorded"), ("x\x00", b"\x00\xff")),
        ),
    ]


def _sized(size_bytes: int) -> bytes:
    head = b'{"call_id": "sized", '
    return head + b" " * (size_bytes - len(head))


def bad_recordings(stack: Stack, http_url: str) -> list[BadRecording]:
    """Recordings that are not there, not allowed, not sound, or not what the event says."""
    good = TelephoneCall(call_id="any", seed=77, frames=2 * SAMPLE_RATE_HZ).wav()
    url = stack.put_recording("calls/good.wav", good)
    outputs = stack.settings["CLEARCALL_S3_BUCKET"]
    sources = stack.source_bucket

    def stored(name: str, content: bytes) -> dict[str, Any]:
        return {"url": stack.put_recording(f"calls/{name}", content)}

    long = TelephoneCall(call_id="any", seed=78, frames=int((MAX_DURATION_S + 1) * SAMPLE_RATE_HZ)).wav()
    return [
        BadRecording(
            call_id="not-there-yet",
            recording={"url": f"s3://{sources}/calls/late.wav"},
            code="source_not_found",
            says="NoSuchKey",
            attempts=MAX_ATTEMPTS,
        ),
        BadRecording(
            call_id="http-404",
            recording={"url": f"{http_url}/calls/404.wav?token=s3cr3t"},
            code="source_not_found",
            says=f"{http_url}/calls/404.wav cannot be read: the server answered 404",
            attempts=MAX_ATTEMPTS,
        ),
        BadRecording(
            call_id="unlisted-bucket",
            recording={"url": "s3://somebody-elses/calls/a.wav"},
            code="source_not_allowed",
            says="CLEARCALL_SOURCES",
        ),
        BadRecording(
            call_id="unlisted-host",
            recording={"url": "https://example.invalid/calls/a.wav"},
            code="source_not_allowed",
            says="CLEARCALL_SOURCES",
        ),
        BadRecording(
            call_id="unlisted-prefix",
            recording={"url": f"s3://{sources}/private/a.wav"},
            code="source_not_allowed",
            says="CLEARCALL_SOURCES",
        ),
        BadRecording(
            call_id="output-bucket",
            recording={"url": f"s3://{outputs}/calls/a.wav"},
            code="source_not_allowed",
            says="never a source",
        ),
        BadRecording(
            call_id="no-bucket",
            recording={"url": "s3://listed-but-not-made/a.wav"},
            code="source_not_found",
            says="NoSuchBucket",
        ),
        BadRecording(
            call_id="zero-bytes", recording=stored("empty.wav", b""), code="empty_file", says="no bytes"
        ),
        BadRecording(
            call_id="header-only",
            recording=stored("header.wav", good[:58]),
            code="no_audio",
            says="no samples",
        ),
        BadRecording(
            call_id="text",
            recording=stored("text.wav", b"Call me back. " * 400),
            code="undecodable",
            says="not audio that Clearcall can read",
        ),
        BadRecording(
            call_id="over-size",
            recording=stored("large.wav", good + bytes(MAX_RECORDING_BYTES)),
            code="too_large",
            says="CLEARCALL_MAX_RECORDING_BYTES",
        ),
        BadRecording(
            call_id="over-length",
            recording=stored("long.wav", long),
            code="too_long",
            says=f"{MAX_DURATION_S:.0f} s are taken",
        ),
        BadRecording(
            call_id="other-sha256",
            recording={"url": url, "sha256": hashlib.sha256(b"another").hexdigest()},
            code="checksum_mismatch",
            says=hashlib.sha256(good).hexdigest(),
        ),
        BadRecording(
            call_id="other-bytes",
            recording={"url": url, "bytes": len(good) + 1},
            code="checksum_mismatch",
            says=f"{len(good)} were fetched",
        ),
    ]
