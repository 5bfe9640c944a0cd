"""The schema: up, down and up again gives the same one, two at once do not clash, and it says what the code says."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from agents.status import ENDED, TRANSITIONS, CallStatus
from app.migrate import current, downgrade, head, upgrade
from tests.support.calls import Row, add

if TYPE_CHECKING:
    from tests.support.calls import Connection, Pool

# Everything that makes a schema, as Postgres itself writes it down.
_CATALOG = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
            pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, col_description(c.oid, a.attnum)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d
            ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'r'""",
    "relations": """
        SELECT relname, relkind::text, obj_description(oid) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'v', 'i')""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    "types": """
        SELECT typname, typtype::text FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype <> 'c'
            AND typcategory <> 'A'""",
}

# Columns whose name alone says what they hold; every other one carries a comment.
_OBVIOUS = {
    "recordings": {"tenant_id", "call_id", "recording_id", "first_seen_at"},
    "results": {
        "tenant_id", "call_id", "recording_id", "chain_name", "chain_digest", "status", "finished_at", "error_message",
        "error_retriable", "duration_s",
    },
    "renditions": {
        "result_id", "name", "url", "media_type", "bytes", "sample_rate_hz", "channels", "frames", "duration_s",
    },
    "rejected_events": {
        "topic", "partition", "offset", "timestamp_ms", "sha256", "error_code", "error_message", "error_field",
        "tenant_id", "recording_id", "rejected_at", "replayed_result_id",
    },
    "outbox": {"outbox_id", "result_id", "key", "value", "created_at"},
}  # fmt: skip


async def schema(dsn: str) -> dict[str, list[tuple[Any, ...]]]:
    connection = await asyncpg.connect(dsn)
    try:
        found = {
            what: sorted((tuple(row) for row in await connection.fetch(query)), key=repr)
            for what, query in _CATALOG.items()
        }
    finally:
        await connection.close()
    # Alembic's own table holds the version and is none of ours.
    return {
        what: [row for row in rows if not str(row[0]).startswith("alembic_version")]
        for what, rows in found.items()
    }


async def test_up_and_down_and_up_again_is_the_same_schema(empty_database: str) -> None:
    assert await current(empty_database) is None
    before = await schema(empty_database)
    assert before["columns"] == []

    await upgrade(empty_database)
    first = await schema(empty_database)
    assert await current(empty_database) == head()
    assert {row[0] for row in first["columns"]} == {
        "recordings",
        "results",
        "renditions",
        "rejected_events",
        "outbox",
    }

    await downgrade(empty_database, "base")
    assert await schema(empty_database) == before
    assert await current(empty_database) is None

    await upgrade(empty_database)
    assert await schema(empty_database) == first
    await upgrade(empty_database)
    assert await schema(empty_database) == first


async def test_two_who_migrate_at_the_same_moment_wait_for_each_other(empty_database: str) -> None:
    await asyncio.gather(*(upgrade(empty_database) for _ in range(3)))

    assert await current(empty_database) == head()


async def test_every_column_says_what_it_holds(shared_database: str) -> None:
    columns = (await schema(shared_database))["columns"]

    silent = {(table, column) for table, column, *_, comment in columns if not comment}
    assert silent == {(table, column) for table, names in _OBVIOUS.items() for column in names}


async def test_every_table_says_what_it_holds(shared_database: str) -> None:
    relations = (await schema(shared_database))["relations"]

    assert all(comment for name, kind, comment in relations if kind == "r")


PAIRS = [(old, new) for old, new in product(CallStatus, CallStatus) if CallStatus.REJECTED not in (old, new)]


@pytest.fixture
async def every_status(pool: Pool) -> Pool:
    """A result in every status that a result may have."""
    async with pool.acquire() as connection:
        for status in set(CallStatus) - {CallStatus.REJECTED}:
            error = (
                ("too_large", "The recording is too large.", False) if status == CallStatus.FAILED else None
            )
            await add(connection, Row(call_id=status, status=status, error=error))
    return pool


async def become(connection: Connection, old: CallStatus, new: CallStatus) -> None:
    """Change the status, and with it what the new one requires."""
    processing, ended = new == CallStatus.PROCESSING, new in ENDED
    await connection.execute(
        "UPDATE results SET status = $2, lease_token = coalesce(lease_token, 1), "
        "lease_expires_at = CASE WHEN $3 THEN now() END, worker = CASE WHEN $3 THEN 'w' END, "
        "started_at = coalesce(started_at, now()), finished_at = CASE WHEN $4 THEN now() END, "
        "report = coalesce(report, '{}'), "
        "error_code = CASE WHEN $5 THEN 'x' END, error_message = CASE WHEN $5 THEN 'x' END, "
        "error_retriable = CASE WHEN $5 THEN true END WHERE call_id = $1",
        old,
        new,
        processing,
        ended,
        new == CallStatus.FAILED,
    )


async def test_the_database_allows_the_very_transitions_that_the_code_does(every_status: Pool) -> None:
    allowed, refusals = set(), {}
    for old, new in PAIRS:
        async with every_status.acquire() as connection:
            change = connection.transaction()
            await change.start()
            try:
                await become(connection, old, new)
                allowed.add((old, new))
            except asyncpg.CheckViolationError as refused:
                refusals[old, new] = refused
            await change.rollback()

    allowed -= {(status, status) for status in CallStatus}
    assert allowed == {(old, new) for old, following in TRANSITIONS.items() for new in following}
    for (old, new), refusal in refusals.items():
        assert refusal.constraint_name == "results_transition"
        assert f"a {old} result cannot become {new}" in str(refusal)


@pytest.mark.parametrize(
    ("call_id", "change", "constraint"),
    [
        ("queued", "status = 'rejected'", "results_status_known"),
        ("queued", "worker = 'w', lease_expires_at = now()", "results_processing_has_lease"),
        ("processing", "lease_expires_at = NULL", "results_processing_has_lease"),
        ("processing", "lease_token = NULL", "results_processing_has_lease"),
        ("processing", "started_at = NULL", "results_processing_has_lease"),
        ("cleaned", "finished_at = NULL", "results_end_has_time"),
        ("queued", "finished_at = now()", "results_end_has_time"),
        ("cleaned", "report = NULL", "results_cleaned_has_report"),
        ("failed", "error_message = NULL", "results_error_is_whole"),
        (
            "failed",
            "error_code = NULL, error_message = NULL, error_retriable = NULL",
            "results_failed_has_error",
        ),
        ("queued", "attempts = -1", "results_attempts_check"),
        ("queued", "chain_digest = 'no hex'", "results_chain_digest_check"),
    ],
)
async def test_a_status_has_what_it_requires(
    every_status: Pool, call_id: str, change: str, constraint: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await every_status.execute(f"UPDATE results SET {change} WHERE call_id = $1", call_id)  # noqa: S608

    # An unknown status is refused by the trigger, which looks first, or by the column's own rule.
    assert refused.value.constraint_name in {constraint, "results_transition"}


@pytest.mark.parametrize("name", ["tenant_id", "call_id", "recording_id"])
@pytest.mark.parametrize("value", ["", "../x", "a/b", "a b", "ü", "a\nb", "a\n", "-a", "x" * 129])
async def test_an_id_that_could_hide_a_path_is_refused_by_the_database_too(
    pool: Pool, name: str, value: str
) -> None:
    ids = {"tenant_id": "t", "call_id": "c", "recording_id": "r"} | {name: value}

    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute(
            "INSERT INTO recordings (tenant_id, call_id, recording_id, source_url) VALUES ($1, $2, $3, 's3://b/k')",
            *ids.values(),
        )
