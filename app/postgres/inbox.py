"""The inbox: every event becomes one row, or is counted on the row that it repeats."""

from __future__ import annotations

from base64 import b64encode
from uuid import UUID

import asyncpg

from agents.errors import ConflictingDuplicate
from agents.ports import NewResult, Rejection
from app.postgres.outbox import enqueue
from app.postgres.pool import transaction
from schemas import OutgoingEvent, same_source, strip_address

_KEEP_RECORDING = """
INSERT INTO recordings AS r (tenant_id, call_id, recording_id, source_url, source_sha256)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, call_id, recording_id) DO UPDATE
    SET event_count = r.event_count + 1, source_sha256 = coalesce(r.source_sha256, excluded.source_sha256)
RETURNING source_url, source_sha256"""

_KEEP_RESULT = """
INSERT INTO results (result_id, tenant_id, call_id, recording_id, chain_name, chain_digest, chain, event, traceparent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (result_id) DO NOTHING
RETURNING result_id"""

_KEEP_REJECTED = """
INSERT INTO rejected_events (rejected_id, topic, "partition", "offset", timestamp_ms, sha256, headers, raw,
    error_code, error_message, error_field, tenant_id, call_id, recording_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (rejected_id) DO NOTHING
RETURNING rejected_id"""


class PostgresInbox:
    """See ``agents.ports.Inbox``."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def accept(self, new: NewResult) -> bool:
        """Keep the result once; False if it was there."""
        async with transaction(self._pool) as connection:
            await _keep_recording(connection, new)
            return await _keep_result(connection, new)

    async def reject(self, rejection: Rejection, event: OutgoingEvent) -> bool:
        """Keep the bytes and the event to send; False if they were there."""
        raw = rejection.raw
        async with transaction(self._pool) as connection:
            kept = await connection.fetchval(
                _KEEP_REJECTED,
                rejection.rejected_id,
                raw.topic,
                raw.partition,
                raw.offset,
                raw.timestamp_ms,
                rejection.sha256,
                [[name, b64encode(value or b"").decode("ascii")] for name, value in _storable(raw.headers)],
                raw.value,
                rejection.error_code,
                rejection.error_message,
                rejection.error_field,
                rejection.tenant_id,
                rejection.call_id,
                rejection.recording_id,
            )
            if kept is not None:
                await enqueue(connection, event, result_id=None)
            return kept is not None

    async def accept_replay(self, rejected_id: UUID, new: NewResult) -> bool:
        """Keep the result of rejected bytes that are understood now, and mark them as replayed."""
        async with transaction(self._pool) as connection:
            await _keep_recording(connection, new)
            is_new = await _keep_result(connection, new)
            await connection.execute(
                "UPDATE rejected_events SET replayed_at = now(), replayed_result_id = $2 WHERE rejected_id = $1",
                rejected_id,
                new.result_id,
            )
            return is_new


async def _keep_recording(
    connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], new: NewResult
) -> None:
    event, recording = new.event, new.event.recording
    row = await connection.fetchrow(
        _KEEP_RECORDING, event.tenant_id, event.call_id, event.recording_id, recording.url, recording.sha256
    )
    assert row is not None  # noqa: S101  (INSERT ... DO UPDATE ... RETURNING always answers a row)
    if not same_source(row["source_url"], row["source_sha256"], recording.url, recording.sha256):
        # Raised inside the transaction: the count and the checksum above are undone.
        raise ConflictingDuplicate(
            f"Recording {event.recording_id!r} of call {event.call_id!r} is known with the source "
            f"{strip_address(row['source_url'])}; this event names {strip_address(recording.url)}"
            f"{' with another checksum' if row['source_url'] == recording.url else ''}. "
            "Give another recording its own recording_id."
        )


async def _keep_result(connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], new: NewResult) -> bool:
    event = new.event
    kept = await connection.fetchval(
        _KEEP_RESULT,
        new.result_id,
        event.tenant_id,
        event.call_id,
        event.recording_id,
        new.chain.name,
        new.chain.digest,
        new.chain.to_json(),
        event.model_dump(mode="json"),
        new.traceparent,
    )
    return kept is not None


def _storable(headers: object) -> list[tuple[str, bytes | None]]:
    # Header names come from anywhere; JSON in the database takes neither NUL nor half a surrogate pair.
    return [
        (
            name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00"),
            value,
        )
        for name, value in headers  # type: ignore[attr-defined]
    ]
