"""The queue: claims with a lease on the database's clock and a fence that never goes back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

import asyncpg
import structlog
from pydantic import ValidationError

from agents.errors import CallError
from agents.ports import Claim, StoredRendition
from app.postgres.outbox import enqueue
from app.postgres.pool import connected, transaction
from dsp import CleanReport, ResolvedChain
from schemas import CallRecorded, OutgoingEvent, strip_address

log = structlog.get_logger(__name__)

# Two index scans: what is due, and what a dead worker left behind.
_CLAIM = """
WITH due AS (
    SELECT result_id, next_attempt_at AS since FROM results
    WHERE status = 'queued' AND next_attempt_at <= now()
    ORDER BY next_attempt_at, queued_at LIMIT $1 FOR UPDATE SKIP LOCKED
), abandoned AS (
    SELECT result_id, lease_expires_at AS since FROM results
    WHERE status = 'processing' AND lease_expires_at < now()
    ORDER BY lease_expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
), oldest AS (
    SELECT result_id FROM (TABLE due UNION ALL TABLE abandoned) AS either ORDER BY since LIMIT $1
)
UPDATE results r
SET status = 'processing', lease_token = nextval('lease_tokens'), lease_expires_at = now() + $2, worker = $3,
    started_at = now()
FROM oldest WHERE r.result_id = oldest.result_id
RETURNING r.result_id, r.lease_token, r.event, r.chain, r.traceparent, r.attempts, r.retry_round"""

_RENEW = """
WITH held AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[]) AS held (result_id, lease_token)
), renewed AS (
    UPDATE results r SET lease_expires_at = now() + $3 FROM held
    WHERE r.result_id = held.result_id AND r.lease_token = held.lease_token AND r.status = 'processing'
)
SELECT held.lease_token FROM held LEFT JOIN results r USING (result_id)
WHERE r.result_id IS NULL OR r.lease_token IS DISTINCT FROM held.lease_token OR r.status = 'erased'"""

_OURS = "result_id = $1 AND lease_token = $2 AND status = 'processing'"
_NO_LEASE = "lease_expires_at = NULL, worker = NULL"
_NO_ERROR = "error_code = NULL, error_message = NULL, error_retriable = NULL"

_FINISH = f"""
UPDATE results SET status = 'cleaned', {_NO_LEASE}, {_NO_ERROR}, attempts = attempts + 1, finished_at = now(),
    report = $3, duration_s = $4, before_lufs = $5, after_lufs = $6, before_noise_floor_dbfs = $7,
    after_noise_floor_dbfs = $8
WHERE {_OURS} RETURNING result_id"""  # noqa: S608  (constants of this module)

_FAIL = f"""
UPDATE results SET status = 'failed', {_NO_LEASE}, attempts = attempts + 1, finished_at = now(),
    error_code = $3, error_message = $4, error_retriable = $5
WHERE {_OURS} RETURNING result_id"""  # noqa: S608

_RETRY = f"""
UPDATE results SET status = 'queued', {_NO_LEASE}, attempts = attempts + 1, next_attempt_at = now() + $6,
    error_code = $3, error_message = $4, error_retriable = $5
WHERE {_OURS} RETURNING result_id"""  # noqa: S608

_RELEASE = f"""
UPDATE results SET status = 'queued', {_NO_LEASE}, next_attempt_at = now() + $3
WHERE {_OURS} RETURNING result_id"""  # noqa: S608

# The answer to a COMMIT may have been lost: the end is ours if the row still carries our fence.
_LANDED = "SELECT true FROM results WHERE result_id = $1 AND lease_token = $2 AND status = $3"

_KEEP_RENDITION = """
INSERT INTO renditions (result_id, position, name, url, media_type, sha256, bytes, sample_rate_hz, channels, frames,
    duration_s, after)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"""

# Another round for a call that was given up; the fence stays as it is.
_ANOTHER_ROUND = """
UPDATE results SET status = 'queued', attempts = 0, retry_round = retry_round + 1, next_attempt_at = now(),
    finished_at = NULL
WHERE call_id = $1 AND ($2::text IS NULL OR tenant_id = $2) AND status = 'failed'
RETURNING result_id"""


class PostgresClaims:
    """See ``agents.ports.Claims``."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool

    async def claim(self, *, worker: str, limit: int, lease_s: float) -> list[Claim]:
        """Take up to ``limit`` due results, oldest first."""
        async with connected(self._pool) as connection:
            rows = await connection.fetch(_CLAIM, limit, timedelta(seconds=lease_s), worker)
        return [claim for row in rows if (claim := _readable(row)) is not None]

    async def renew(self, claims: Collection[Claim], *, lease_s: float) -> set[int]:
        """Lengthen the leases; answers the tokens of claims that somebody else has taken."""
        async with connected(self._pool) as connection:
            lost = await connection.fetch(
                _RENEW,
                [claim.result_id for claim in claims],
                [claim.lease_token for claim in claims],
                timedelta(seconds=lease_s),
            )
        return {row["lease_token"] for row in lost}

    async def finish(
        self, claim: Claim, report: CleanReport, renditions: Sequence[StoredRendition], event: OutgoingEvent
    ) -> bool:
        """Status, statistics, renditions and the event to send, in one transaction."""
        told = report.to_json()
        told.pop("renditions")
        first_after = renditions[0].after if renditions else {}
        async with transaction(self._pool) as connection:
            ended = await connection.fetchval(
                _FINISH,
                claim.result_id,
                claim.lease_token,
                told,
                told["input"]["duration_s"],
                _programme_lufs(told["before"]),
                _programme_lufs(first_after),
                _noise_floor_dbfs(told["before"]),
                _noise_floor_dbfs(first_after),
            )
            if ended is None:
                return await self._landed(connection, claim, "cleaned")
            await connection.executemany(_KEEP_RENDITION, _rendition_rows(claim, renditions))
            await enqueue(connection, event, result_id=claim.result_id)
            return True

    async def fail(self, claim: Claim, error: CallError, event: OutgoingEvent) -> bool:
        """Give the call up, with the event to send."""
        async with transaction(self._pool) as connection:
            ended = await connection.fetchval(
                _FAIL, claim.result_id, claim.lease_token, error.code, error.message, error.retriable
            )
            if ended is None:
                return await self._landed(connection, claim, "failed")
            await enqueue(connection, event, result_id=claim.result_id)
            return True

    async def retry(self, claim: Claim, error: CallError, *, delay_s: float) -> bool:
        """Count the attempt and queue the call again after a delay."""
        async with connected(self._pool) as connection:
            ended = await connection.fetchval(
                _RETRY,
                claim.result_id,
                claim.lease_token,
                error.code,
                error.message,
                error.retriable,
                timedelta(seconds=delay_s),
            )
        return ended is not None

    async def release(self, claim: Claim, *, delay_s: float) -> bool:
        """Queue the call again, not counted."""
        async with connected(self._pool) as connection:
            ended = await connection.fetchval(
                _RELEASE, claim.result_id, claim.lease_token, timedelta(seconds=delay_s)
            )
        return ended is not None

    async def another_round(self, call_id: str, *, tenant_id: str | None) -> int:
        """Queue the failed results of a call again; answers how many there were."""
        async with connected(self._pool) as connection:
            return len(await connection.fetch(_ANOTHER_ROUND, call_id, tenant_id))

    @staticmethod
    async def _landed(
        connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record], claim: Claim, status: str
    ) -> bool:
        return bool(await connection.fetchval(_LANDED, claim.result_id, claim.lease_token, status))


def _readable(row: asyncpg.Record) -> Claim | None:
    """Read the claim; None for one of another version, which one bad row must not make everybody wait for."""
    try:
        return _claim(row)
    except (ValueError, KeyError) as error:
        # Left to its lease: while versions are changed, a worker that understands it may come. No values: secrets.
        problems = [str(error)]
        if isinstance(error, ValidationError):
            problems = [
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
            ]
        log.warning("claim not understood", result=str(row["result_id"]), reason="; ".join(problems))
        return None


def _claim(row: asyncpg.Record) -> Claim:
    return Claim(
        result_id=row["result_id"],
        lease_token=row["lease_token"],
        event=CallRecorded.model_validate(row["event"]),
        chain=ResolvedChain.from_json(row["chain"]),
        traceparent=row["traceparent"],
        attempts=row["attempts"],
        retry_round=row["retry_round"],
    )


def _rendition_rows(claim: Claim, renditions: Sequence[StoredRendition]) -> list[tuple[object, ...]]:
    return [
        (
            claim.result_id,
            position,
            rendition.name,
            strip_address(rendition.object.url),
            rendition.media_type,
            rendition.object.sha256,
            rendition.object.bytes,
            rendition.sample_rate_hz,
            rendition.channels,
            rendition.frames,
            rendition.duration_s,
            rendition.after,
        )
        for position, rendition in enumerate(renditions)
    ]


def _programme_lufs(measured: dict[str, object]) -> float | None:
    programme = measured.get("programme")
    return programme.get("integrated_lufs") if isinstance(programme, dict) else None


def _noise_floor_dbfs(measured: dict[str, object]) -> float | None:
    """Of the noisiest channel: that is the one which people hear."""
    channels = measured.get("channels")
    floors = [channel.get("noise_floor_dbfs") for channel in channels] if isinstance(channels, list) else []
    return max((floor for floor in floors if floor is not None), default=None)
