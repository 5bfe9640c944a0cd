"""Rejected events: their bytes, shown and decoded again."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from agents.intake import understand
from agents.ports import RawEvent
from app.postgres.inbox import PostgresInbox
from app.postgres.pool import translated
from dsp import ChainFile


@dataclass(frozen=True, kw_only=True)
class RejectedEvent:
    """One rejected event with its original bytes."""

    rejected_id: UUID
    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    sha256: str
    headers: tuple[tuple[str, bytes], ...]
    raw: bytes | None
    error_code: str
    error_message: str
    error_field: str | None
    tenant_id: str | None
    call_id: str | None
    recording_id: str | None
    rejected_at: datetime
    replayed_at: datetime | None
    replayed_result_id: UUID | None

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON types, bytes in base64."""
        return {
            **{name: getattr(self, name) for name in self.__dataclass_fields__},
            "rejected_id": str(self.rejected_id),
            "headers": [[name, b64encode(value).decode("ascii")] for name, value in self.headers],
            "raw": None if self.raw is None else b64encode(self.raw).decode("ascii"),
            "rejected_at": self.rejected_at.isoformat(),
            "replayed_at": self.replayed_at.isoformat() if self.replayed_at else None,
            "replayed_result_id": str(self.replayed_result_id) if self.replayed_result_id else None,
        }


class RejectedEvents:
    """The rejected events of the database."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def newest(self, limit: int) -> list[RejectedEvent]:
        """The newest rejected events, newest first."""
        with translated():
            rows = await self._pool.fetch(
                "SELECT * FROM rejected_events ORDER BY rejected_at DESC, rejected_id DESC LIMIT $1", limit
            )
        return [_event(row) for row in rows]

    async def get(self, rejected_id: UUID) -> RejectedEvent | None:
        """One rejected event; None where there is none of that id."""
        with translated():
            row = await self._pool.fetchrow(
                "SELECT * FROM rejected_events WHERE rejected_id = $1", rejected_id
            )
        return None if row is None else _event(row)

    async def replay(self, rejected_id: UUID, chains: ChainFile) -> str | None:
        """Decode the bytes again and queue the call; answers what was done, None where there is none of that id.

        Raises SchemaError, UnknownChain, ConflictingDuplicate or Unstorable where it is rejected still.
        """
        event = await self.get(rejected_id)
        if event is None:
            return None
        raw = RawEvent(
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
            timestamp_ms=event.timestamp_ms,
            headers=event.headers,
            value=event.raw,
        )
        new = understand(raw, chains)
        is_new = await PostgresInbox(self._pool).accept_replay(rejected_id, new)
        return f"Call {new.event.call_id} {'is queued' if is_new else 'was known already'}: result {new.result_id}."


def _event(row: asyncpg.Record) -> RejectedEvent:
    fields = dict(row)
    fields["headers"] = tuple((name, b64decode(value)) for name, value in row["headers"])
    return RejectedEvent(**fields)
