"""Messages as a test wants them: a good one, changed in one place."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from schemas import SchemaError, decode

SMALLEST: dict[str, Any] = {"call_id": "c-1", "recording": {"url": "s3://recordings/acme/c-1.wav"}}

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

BINARY_HEADERS: list[tuple[str, bytes]] = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"e-1"),
    ("ce_source", b"/pbx/7"),
    ("ce_type", b"com.example.call.recorded"),
    ("ce_time", b"2026-11-20T10:00:00Z"),
    ("content-type", b"application/json"),
]


def event(**changes: Any) -> dict[str, Any]:
    """Give the smallest valid event with some fields set."""
    return SMALLEST | changes


def structured(data: Any, **changes: Any) -> dict[str, Any]:
    """Give a CloudEvent that is itself a JSON object."""
    return {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/pbx/7",
        "type": "call.recorded",
        "data": data,
    } | changes


def as_json(value: Any) -> bytes:
    """Write a value as JSON in UTF-8."""
    return json.dumps(value).encode("utf-8")


def refusal(value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()) -> SchemaError:
    """Give the error that a message is refused with; a message that is taken fails the test."""
    with pytest.raises(SchemaError) as caught:
        decode(value, headers)
    return caught.value
