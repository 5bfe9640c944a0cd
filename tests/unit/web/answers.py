"""Answers of the reading side, made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from agents.status import CallStatus
from app.calls import CallDetail, CallFault, CallHistoryEntry, CallSummary, EventOrigin
from schemas import ChainRef, Rendition, Statistics
from tests.support.calls import Row, after, report

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
RESULT = UUID("5d41402a-bc4b-4a76-b971-9d911017c592")


def state(**changes: Any) -> dict[str, Any]:
    """What every row has: of a cleaned call, but for the changes."""
    return {
        "tenant_id": "default",
        "call_id": "c-1",
        "recording_id": "c-1",
        "status": CallStatus.CLEANED,
        "attempts": 1,
        "queued_at": NOW,
        "started_at": NOW + timedelta(seconds=1),
        "finished_at": NOW + timedelta(seconds=3),
        "error": None,
        "chain": ChainRef(name="telephony", digest="beef" * 10),
        "result_id": RESULT,
        **changes,
    }


def summary(**changes: Any) -> CallSummary:
    """A row of the list."""
    return CallSummary(**state(duration_s=60.0, before_lufs=-31.2, after_lufs=-16.0) | changes)


def rejected(**changes: Any) -> CallSummary:
    """A rejected event that could not be read at all."""
    nobody = dict.fromkeys(("tenant_id", "call_id", "recording_id", "started_at", "chain", "result_id"))
    return CallSummary(
        **state(**nobody)
        | {
            "status": CallStatus.REJECTED,
            "attempts": 0,
            "error": CallFault(code="malformed_json", message="no JSON", retriable=False),
            "rejected_id": RESULT,
            "origin": EventOrigin(topic="call.recorded", partition=0, offset=7),
        }
        | changes
    )


def history_entry(**changes: Any) -> CallHistoryEntry:
    """A row of a call's history."""
    return CallHistoryEntry(kind="result", **state() | changes)


def detail(**changes: Any) -> CallDetail:
    """A cleaned call, with all that belongs to it."""
    row = Row(call_id="c-1")
    measured = report(row)
    return CallDetail(
        **state(
            statistics=Statistics.model_validate({"before": measured["before"], "warnings": []}),
            duration_s=60.0,
            renditions=(
                Rendition.model_validate(
                    {
                        "name": "listen",
                        "url": "s3://clearcall/default/c-1/c-1/beef/listen.flac",
                        "media_type": "audio/flac",
                        "sha256": "a" * 64,
                        "bytes": 402_113,
                        "sample_rate_hz": 8000,
                        "channels": 2,
                        "frames": 480_000,
                        "duration_s": 60.0,
                        "after": after(row, denoised=True),
                    }
                ),
            ),
        )
        | changes
    )
