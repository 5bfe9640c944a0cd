"""The outbox: events written with what they tell of, sent afterwards."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from agents.ports import Send
from app.postgres.pool import transaction
from schemas import OutgoingEvent

_ENQUEUE = """
INSERT INTO outbox (event_id, result_id, topic, key, value, headers) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (event_id) DO NOTHING"""

_UNSENT = """
SELECT outbox_id, event_id, topic, key, value, headers FROM outbox
WHERE sent_at IS NULL ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED"""

_MARK = "UPDATE outbox SET sent_at = now() WHERE outbox_id = ANY ($1::bigint[])"


async def enqueue(
    connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record],
    event: OutgoingEvent,
    *,
    result_id: UUID | None,
) -> None:
    """Put an event into the outbox, once, in the caller's transaction."""
    await connection.execute(
        _ENQUEUE,
        event.event_id,
        result_id,
        event.topic_suffix,
        event.key,
        event.value,
        [[name, value.decode("utf-8")] for name, value in event.headers],
    )


class PostgresOutbox:
    """See ``agents.ports.Outbox``."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def relay(self, send: Send, *, limit: int) -> int:
        """Send the oldest unsent events and mark what was confirmed; answers how many.

        The rows stay locked meanwhile, so that no other relay sends them too. A worker that is killed between the
        two leaves them unsent: they go out again, with the same ids.
        """
        # No bound on the whole: the broker may take its time; each of the statements has its own.
        async with transaction(self._pool, within_s=None) as connection:
            rows = await connection.fetch(_UNSENT, limit)
            if not rows:
                return 0
            confirmed = await send([_event(row) for row in rows])
            sent = [row["outbox_id"] for row in rows if row["event_id"] in confirmed]
            await connection.execute(_MARK, sent)
            return len(sent)


def _event(row: asyncpg.Record) -> OutgoingEvent:
    return OutgoingEvent(
        topic_suffix=row["topic"],
        event_id=row["event_id"],
        key=row["key"],
        value=row["value"],
        headers=tuple((name, value.encode("utf-8")) for name, value in row["headers"]),
    )
