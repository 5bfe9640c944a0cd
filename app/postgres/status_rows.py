"""Rows of the tables as the words in which calls are spoken of; addresses lose their secrets on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from app.calls import CallDetail, CallFault, CallHistoryEntry, CallSummary, EventOrigin
from schemas import ChainRef, CleanedChannel, Original, Rendition, Statistics


def summary(row: asyncpg.Record) -> CallSummary:
    """A row of the list."""
    return CallSummary(**_state(row), **_levels(row))


def history_entry(row: asyncpg.Record) -> CallHistoryEntry:
    """A row of a call's history."""
    return CallHistoryEntry(
        **_state(row),
        **_levels(row),
        kind=row["kind"],
        retry_round=row["retry_round"],
        event_count=row["event_count"],
        replayed_at=row["replayed_at"],
    )


def rejected_detail(row: asyncpg.Record) -> CallDetail:
    """A call of which only a rejected event is known."""
    return CallDetail(**_state(row))


def detail(row: asyncpg.Record) -> CallDetail:
    """A result with all that belongs to it."""
    event, report = row["event"], row["report"]
    return CallDetail(
        tenant_id=row["tenant_id"],
        call_id=row["call_id"],
        recording_id=row["recording_id"],
        status=row["status"],
        attempts=row["attempts"],
        queued_at=row["queued_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        next_attempt_at=row["next_attempt_at"] if row["waits"] else None,
        error=_fault(row, field=None),
        chain=ChainRef(name=row["chain_name"], digest=row["chain_digest"]),
        result_id=row["result_id"],
        renditions=tuple(Rendition.model_validate(rendition) for rendition in row["renditions"]),
        statistics=_statistics(report),
        original=_original(row, report),
        duration_s=row["duration_s"],
        recorded_at=event.get("recorded_at"),
        channels=_channels(event),
        direction=event.get("direction"),
        agent_id=event.get("agent_id"),
        queue=event.get("queue"),
        worker=row["worker"],
        metadata=event.get("metadata") or {},
    )


def _state(row: asyncpg.Record) -> dict[str, Any]:
    rejected = row["kind"] == "rejected_event"
    return {
        "tenant_id": row["tenant_id"],
        "call_id": row["call_id"],
        "recording_id": row["recording_id"],
        "status": row["status"],
        "attempts": row["attempts"],
        "queued_at": row["received_at"],
        "started_at": row["started_at"],
        "finished_at": row["finished_at"],
        "next_attempt_at": row["next_attempt_at"],
        "error": _fault(row, field=row["error_field"]),
        "chain": None if rejected else ChainRef(name=row["chain_name"], digest=row["chain_digest"]),
        "result_id": None if rejected else row["row_id"],
        "rejected_id": row["row_id"] if rejected else None,
        "origin": EventOrigin(topic=row["topic"], partition=row["partition"], offset=row["offset"])
        if rejected
        else None,
    }


def _levels(row: asyncpg.Record) -> dict[str, float | None]:
    return {
        name: row[name]
        for name in (
            "duration_s",
            "before_lufs",
            "after_lufs",
            "before_noise_floor_dbfs",
            "after_noise_floor_dbfs",
        )
    }


def _fault(row: asyncpg.Record, *, field: str | None) -> CallFault | None:
    if row["error_code"] is None:
        return None
    return CallFault(
        code=row["error_code"], message=row["error_message"], retriable=row["error_retriable"], field=field
    )


def _statistics(report: Mapping[str, Any] | None) -> Statistics | None:
    if report is None:
        return None
    return Statistics.model_validate({"before": report["before"], "warnings": report.get("warnings", [])})


def _original(row: asyncpg.Record, report: Mapping[str, Any] | None) -> Original:
    measured = report["input"] if report is not None else {}
    return Original(
        url=row["source_url"],
        sha256=measured.get("sha256", row["source_sha256"]),
        bytes=measured.get("bytes"),
    )


def _channels(event: Mapping[str, Any]) -> tuple[CleanedChannel, ...]:
    parties = event.get("channels") or ()
    return tuple(
        CleanedChannel.model_validate({"index": index, **party}) for index, party in enumerate(parties)
    )
