"""The reading side: what people and monitors ask about calls, answered from the tables the pipeline writes.

The list is a union of results and rejected events, each read along its own index from the place where the last page
ended, so a page costs the same at a thousand rows and at a million.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import asyncpg

from agents.status import CallStatus
from app.calls import (
    MAX_PAGE_CALLS,
    AmbiguousTenant,
    CallDetail,
    CallFilter,
    CallHistoryEntry,
    CallNotFound,
    CallPage,
    Cursor,
    QueueHealth,
)
from app.postgres.pool import translated
from app.postgres.status_rows import detail, history_entry, rejected_detail, summary
from schemas import is_identifier

_QUERY_TIMEOUT_S = 8.0
_ACQUIRE_TIMEOUT_S = 4.0
# Counting reads every row's index entry: it may take this share of the time, however many rows there are.
_COUNTING_SHARE = 0.05

_RESULTS = """
SELECT r.queued_at AS received_at, r.result_id AS row_id, 'result' AS kind, r.tenant_id, r.call_id, r.recording_id,
    r.status, r.attempts, r.started_at, r.finished_at,
    CASE WHEN r.status = 'queued' AND r.next_attempt_at > now() THEN r.next_attempt_at END AS next_attempt_at,
    r.error_code, r.error_message, r.error_retriable, NULL AS error_field, r.chain_name, r.chain_digest,
    r.duration_s, r.before_lufs, r.after_lufs, r.before_noise_floor_dbfs, r.after_noise_floor_dbfs,
    NULL AS topic, NULL::integer AS "partition", NULL::bigint AS "offset" """

_REJECTED = """
SELECT j.rejected_at AS received_at, j.rejected_id AS row_id, 'rejected_event' AS kind, j.tenant_id, j.call_id,
    j.recording_id, 'rejected' AS status, 0 AS attempts, NULL::timestamptz AS started_at, j.rejected_at AS finished_at,
    NULL::timestamptz AS next_attempt_at, j.error_code, j.error_message, false AS error_retriable, j.error_field,
    NULL AS chain_name, NULL AS chain_digest, NULL::float8 AS duration_s, NULL::float8 AS before_lufs,
    NULL::float8 AS after_lufs, NULL::float8 AS before_noise_floor_dbfs, NULL::float8 AS after_noise_floor_dbfs,
    j.topic, j."partition", j."offset" """

_NEWEST_RESULT = """
SELECT r.*, c.source_url, c.source_sha256,
    (SELECT array_agg(DISTINCT t.tenant_id ORDER BY t.tenant_id) FROM results t WHERE t.call_id = $1) AS tenants,
    (SELECT coalesce(jsonb_agg(to_jsonb(n) - 'position' - 'result_id' ORDER BY n.position), '[]') FROM renditions n
     WHERE n.result_id = r.result_id) AS renditions,
    r.status = 'queued' AND r.next_attempt_at > now() AS waits
FROM results r JOIN recordings c USING (tenant_id, call_id, recording_id)
WHERE r.call_id = $1 AND ($2::text IS NULL OR r.tenant_id = $2) AND ($3::uuid IS NULL OR r.result_id = $3)
ORDER BY c.first_seen_at DESC, r.queued_at DESC, r.result_id DESC LIMIT 1"""

_NEWEST_REJECTED = f"""
{_REJECTED},
    (SELECT array_agg(DISTINCT t.tenant_id ORDER BY t.tenant_id) FROM rejected_events t
     WHERE t.call_id = $1 AND t.tenant_id IS NOT NULL) AS tenants
FROM rejected_events j WHERE j.call_id = $1 AND ($2::text IS NULL OR j.tenant_id = $2)
ORDER BY j.rejected_at DESC, j.rejected_id DESC LIMIT 1"""  # noqa: S608  (constants of this module)

_HISTORY = f"""
{_RESULTS}, r.retry_round, c.event_count, NULL::timestamptz AS replayed_at
FROM results r JOIN recordings c USING (tenant_id, call_id, recording_id)
WHERE r.call_id = $1 AND r.tenant_id IS NOT DISTINCT FROM $2
UNION ALL
{_REJECTED}, 0, 1, j.replayed_at
FROM rejected_events j WHERE j.call_id = $1 AND j.tenant_id IS NOT DISTINCT FROM $2
ORDER BY received_at DESC, row_id DESC LIMIT {MAX_PAGE_CALLS}"""

_COUNTS = """
SELECT status, count(*) AS rows FROM results GROUP BY status
UNION ALL SELECT 'rejected', count(*) FROM rejected_events WHERE replayed_at IS NULL"""

_QUEUE_HEALTH = """
SELECT (SELECT count(*) FROM results WHERE status = 'queued') AS queued,
    (SELECT count(*) FROM results WHERE status = 'processing') AS processing,
    coalesce(extract(epoch FROM now() - (SELECT queued_at FROM results WHERE status = 'queued'
        ORDER BY queued_at, result_id LIMIT 1)), 0)::float8 AS oldest_seconds,
    (SELECT count(*) FROM outbox WHERE sent_at IS NULL) AS unsent"""


class StatusReader:
    """See ``app.calls.Calls``."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._counting = asyncio.Lock()
        self._counts: dict[CallStatus, int] = {}
        self._count_again_at = 0.0

    async def list_calls(self, wanted: CallFilter) -> CallPage:
        """The rows that pass the filter, newest first."""
        given = [text for text in (wanted.call_id_prefix, wanted.tenant_id) if text is not None]
        if not all(is_identifier(text) for text in given):
            return CallPage(calls=(), next_cursor=None)  # no id looks like this
        query, arguments = list_query(wanted)
        rows = await self._fetch(query, *arguments)
        shown = rows[: wanted.limit]
        last = shown[-1] if len(rows) > wanted.limit else None
        return CallPage(
            calls=tuple(summary(row) for row in shown),
            next_cursor=Cursor(last["received_at"], last["row_id"]).encode() if last else None,
        )

    async def get_call(
        self, call_id: str, tenant_id: str | None = None, *, result_id: UUID | None = None
    ) -> CallDetail:
        """The newest result of the call's newest recording, or the one that is named.

        Tenants are told apart by results; rejected events, which anybody's garbage may cause, count only where
        there is no result. Raises CallNotFound, AmbiguousTenant.
        """
        if not is_identifier(call_id) or (tenant_id is not None and not is_identifier(tenant_id)):
            raise CallNotFound(call_id, tenant_id)
        found = await self._fetch(_NEWEST_RESULT, call_id, tenant_id, result_id)
        if found:
            if tenant_id is None and result_id is None:
                _only_one_tenant(call_id, found[0]["tenants"])
            return detail(found[0])
        rejected = await self._fetch(_NEWEST_REJECTED, call_id, tenant_id) if result_id is None else []
        if not rejected:
            raise CallNotFound(call_id, tenant_id)
        if tenant_id is None:
            _only_one_tenant(call_id, rejected[0]["tenants"] or ())
        return rejected_detail(rejected[0])

    async def call_history(self, call_id: str, tenant_id: str | None) -> tuple[CallHistoryEntry, ...]:
        """Every result and rejected event of one tenant's call, newest first."""
        if not is_identifier(call_id) or (tenant_id is not None and not is_identifier(tenant_id)):
            return ()
        rows = await self._fetch(_HISTORY, call_id, tenant_id)
        return tuple(history_entry(row) for row in rows)

    async def counts(self) -> dict[CallStatus, int]:
        """How many rows of the list have each status.

        Exact while counting is quick; with so many rows that it is not, as old as twenty times what it takes.
        """
        async with self._counting:
            began = time.monotonic()
            if began >= self._count_again_at:
                rows = await self._fetch(_COUNTS)
                counted = {CallStatus(row["status"]): int(row["rows"]) for row in rows}
                self._counts = {status: counted.get(status, 0) for status in CallStatus}
                ended = time.monotonic()
                self._count_again_at = ended + (ended - began) / _COUNTING_SHARE
            return dict(self._counts)

    async def queue_health(self) -> QueueHealth:
        """How much waits, and how long."""
        (row,) = await self._fetch(_QUEUE_HEALTH)
        return QueueHealth(
            depth={"queued": row["queued"], "processing": row["processing"]},
            oldest_seconds=max(0.0, row["oldest_seconds"]),
            outbox_unsent=row["unsent"],
        )

    async def _fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        with _reading():
            async with self._pool.acquire(timeout=_ACQUIRE_TIMEOUT_S) as connection:
                rows: list[asyncpg.Record] = await connection.fetch(
                    query, *arguments, timeout=_QUERY_TIMEOUT_S
                )
                return rows


def list_query(wanted: CallFilter) -> tuple[str, list[Any]]:
    """The list's SQL with its arguments; one row more than wanted tells whether there is a next page."""
    arguments: list[Any] = [wanted.limit + 1]
    branches = []
    if wanted.status is not CallStatus.REJECTED:
        clauses = _clauses(wanted, arguments, "r", "queued_at", "result_id")
        if wanted.status is not None:
            clauses.append(f"r.status = {_bound(arguments, wanted.status.value)}")
        order = "r.queued_at DESC, r.result_id DESC"
        branches.append(f"({_RESULTS} FROM results r {_where(clauses)} ORDER BY {order} LIMIT $1)")
    if wanted.status in (None, CallStatus.REJECTED):
        # What was accepted after all is in the list as its result.
        clauses = [*_clauses(wanted, arguments, "j", "rejected_at", "rejected_id"), "j.replayed_at IS NULL"]
        order = "j.rejected_at DESC, j.rejected_id DESC"
        branches.append(f"({_REJECTED} FROM rejected_events j {_where(clauses)} ORDER BY {order} LIMIT $1)")
    union = " UNION ALL ".join(branches)
    # Only words of this module are put together; every value is bound.
    return f"SELECT * FROM ({union}) page ORDER BY received_at DESC, row_id DESC LIMIT $1", arguments  # noqa: S608


def _clauses(
    wanted: CallFilter, arguments: list[Any], table: str, time_column: str, id_column: str
) -> list[str]:
    received_at = f"{table}.{time_column}"
    clauses = []
    if wanted.cursor is not None:
        place = f"{_bound(arguments, wanted.cursor.received_at)}, {_bound(arguments, wanted.cursor.row_id)}"
        clauses.append(f"({received_at}, {table}.{id_column}) < ({place})")
    if wanted.since is not None:
        clauses.append(f"{received_at} >= {_bound(arguments, wanted.since)}")
    if wanted.until is not None:
        clauses.append(f"{received_at} < {_bound(arguments, wanted.until)}")
    if wanted.tenant_id is not None:
        clauses.append(f"{table}.tenant_id = {_bound(arguments, wanted.tenant_id)}")
    if wanted.call_id_prefix:
        # Not LIKE: with a bound pattern it could not use the index, and '_' is a letter of ids.
        prefix = wanted.call_id_prefix
        clauses.append(f"{table}.call_id ~>=~ {_bound(arguments, prefix)}")
        clauses.append(f"{table}.call_id ~<~ {_bound(arguments, prefix[:-1] + chr(ord(prefix[-1]) + 1))}")
    return clauses


def _bound(arguments: list[Any], value: Any) -> str:
    arguments.append(value)
    return f"${len(arguments)}"


def _where(clauses: Sequence[str]) -> str:
    return f"WHERE {' AND '.join(clauses)}" if clauses else ""


def _only_one_tenant(call_id: str, tenants: Sequence[str]) -> None:
    if len(tenants) > 1:
        raise AmbiguousTenant(call_id, tuple(tenants))


@contextmanager
def _reading() -> Iterator[None]:
    with translated():
        yield
