"""What the reading side tells of calls, over a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from agents.errors import Outage
from agents.status import CallStatus
from app.calls import AmbiguousTenant, CallFilter, CallNotFound, Cursor
from app.postgres.pool import open_pool
from app.postgres.status import StatusReader, list_query
from tests.support.calls import NOON, Row, add, reject

if TYPE_CHECKING:
    from tests.support.calls import Connection, Pool


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, size=4)
    yield pool
    await pool.close()


@pytest.fixture
async def connection(
    pool: Pool,
) -> AsyncIterator[Connection]:
    async with pool.acquire() as connection:
        yield connection


@pytest.fixture
def reader(pool: Pool) -> StatusReader:
    return StatusReader(pool)


async def ids(reader: StatusReader, wanted: CallFilter) -> list[str | None]:
    return [call.call_id for call in (await reader.list_calls(wanted)).calls]


async def test_list_holds_results_and_rejected_events_newest_first(
    reader: StatusReader, connection: Connection
) -> None:
    await add(connection, Row(call_id="c-1"), Row(call_id="c-3", queued_at=NOON + timedelta(seconds=2)))
    rejected_id = await reject(connection, call_id="c-2", rejected_at=NOON + timedelta(seconds=1))

    page = await reader.list_calls(CallFilter())

    assert [(call.call_id, call.status) for call in page.calls] == [
        ("c-3", CallStatus.CLEANED),
        ("c-2", CallStatus.REJECTED),
        ("c-1", CallStatus.CLEANED),
    ]
    assert page.next_cursor is None
    cleaned, rejected, _ = page.calls
    assert (cleaned.duration_s, cleaned.before_lufs, cleaned.after_lufs) == (60.0, -31.2, -16.0)
    assert cleaned.result_id == Row(call_id="c-3").result_id
    assert (rejected.rejected_id, rejected.result_id) == (rejected_id, None)
    assert rejected.error is not None
    assert rejected.error.code == "malformed_json"
    assert rejected.origin is not None
    assert rejected.origin.topic == "call.recorded"


async def test_pages_hold_every_row_once_where_many_came_in_the_same_moment(
    reader: StatusReader, connection: Connection
) -> None:
    await add(connection, *(Row(call_id=f"c-{number}") for number in range(15)))
    for number in range(15):
        await reject(connection, call_id=f"r-{number}", offset=number)

    seen, cursor, pages = [], None, 0
    while True:
        page = await reader.list_calls(CallFilter(limit=7, cursor=cursor))
        seen += [call.call_id for call in page.calls]
        pages += 1
        if page.next_cursor is None:
            break
        assert len(page.calls) == 7
        cursor = Cursor.decode(page.next_cursor)

    assert pages == 5
    assert sorted(map(str, seen)) == sorted([f"c-{n}" for n in range(15)] + [f"r-{n}" for n in range(15)])


async def test_rows_that_arrive_meanwhile_do_not_shift_the_next_page(
    reader: StatusReader, connection: Connection
) -> None:
    await add(connection, *(Row(call_id=f"c-{n}", queued_at=NOON + timedelta(seconds=n)) for n in range(4)))
    first = await reader.list_calls(CallFilter(limit=2))
    await add(connection, Row(call_id="late", queued_at=NOON + timedelta(seconds=9)))

    assert first.next_cursor is not None
    second = await reader.list_calls(CallFilter(limit=2, cursor=Cursor.decode(first.next_cursor)))

    assert [call.call_id for call in second.calls] == ["c-1", "c-0"]


async def test_filter_by_status(reader: StatusReader, connection: Connection) -> None:
    for other in ("queued", "processing", "cleaned", "erased"):
        await add(connection, Row(call_id=other, status=other))
    await add(connection, Row(call_id="failed", status="failed", error=("decode_failed", "No audio.", False)))
    await reject(connection, call_id="rejected")

    for status in CallStatus:
        assert await ids(reader, CallFilter(status=status)) == [status.value]


async def test_filter_by_the_beginning_of_the_call_id_takes_every_sign_literally(
    reader: StatusReader, connection: Connection
) -> None:
    await add(connection, *(Row(call_id=name) for name in ("a_1", "ab1", "a_", "a-1", "b_1", "A_1")))
    await reject(connection, call_id="a_9")

    assert sorted(map(str, await ids(reader, CallFilter(call_id_prefix="a_")))) == ["a_", "a_1", "a_9"]
    assert await ids(reader, CallFilter(call_id_prefix="a%")) == []
    assert await ids(reader, CallFilter(call_id_prefix="a\x00")) == []
    assert await ids(reader, CallFilter(call_id_prefix="zz")) == []


async def test_filter_by_tenant_and_time(reader: StatusReader, connection: Connection) -> None:
    for number in range(4):
        received = NOON + timedelta(minutes=number)
        await add(connection, Row(call_id=f"c-{number}", tenant_id="acme", queued_at=received))
        await add(connection, Row(call_id=f"d-{number}", tenant_id="other", queued_at=received))

    wanted = CallFilter(
        tenant_id="acme", since=NOON + timedelta(minutes=1), until=NOON + timedelta(minutes=3)
    )
    assert await ids(reader, wanted) == ["c-2", "c-1"]


async def test_a_replayed_event_is_in_the_list_as_its_result_alone(
    reader: StatusReader, connection: Connection
) -> None:
    await reject(connection, call_id="c-1", replayed_at=NOON)
    await add(connection, Row(call_id="c-1"))

    assert [call.status for call in (await reader.list_calls(CallFilter())).calls] == [CallStatus.CLEANED]
    assert (await reader.counts())[CallStatus.REJECTED] == 0
    history = await reader.call_history("c-1", "default")
    assert [entry.replayed_at for entry in history if entry.kind == "rejected_event"] == [NOON]


async def test_call_is_the_newest_result_of_its_newest_recording(
    reader: StatusReader, connection: Connection
) -> None:
    old = Row(call_id="c-1", recording_id="r-1", queued_at=NOON)
    new = Row(call_id="c-1", recording_id="r-2", queued_at=NOON + timedelta(minutes=1))
    again = replace(new, digest="beef", queued_at=NOON + timedelta(minutes=2), status="queued")
    old_again = replace(old, digest="beef", queued_at=NOON + timedelta(minutes=3))
    await add(connection, old, new, again, old_again)

    call = await reader.get_call("c-1")

    assert (call.recording_id, call.status, call.result_id) == ("r-2", CallStatus.QUEUED, again.result_id)
    assert (await reader.get_call("c-1", result_id=old.result_id)).result_id == old.result_id
    assert len(await reader.call_history("c-1", "default")) == 4


async def test_cleaned_call_tells_everything_and_no_secret_of_an_address(
    reader: StatusReader, connection: Connection
) -> None:
    row = Row(
        call_id="c-1",
        source_url="https://files.test/c-1.wav?X-Amz-Signature=canary#canary",
        event={
            "channels": [{"role": "agent", "name": "Kim"}],
            "metadata": {"campaign": "spring"},
            "queue": "sales",
        },
        warnings=({"code": "truncated", "channel": None, "message": "The file ends early."},),
    )
    await add(connection, row)

    call = await reader.get_call("c-1", "default")

    assert call.original is not None
    assert call.original.url == "https://files.test/c-1.wav"
    assert call.original.bytes == 960_044
    assert [rendition.name for rendition in call.renditions] == ["listen", "asr"]
    assert call.renditions[0].after.channels[1].integrated_lufs == -16.0
    assert call.statistics is not None
    assert call.statistics.before.programme.integrated_lufs == -31.2
    assert call.statistics.warnings[0].code == "truncated"
    assert (call.metadata, call.queue, call.channels[0].role) == ({"campaign": "spring"}, "sales", "agent")
    assert "canary" not in call.model_dump_json()


async def test_call_known_from_rejected_events_alone_is_rejected(
    reader: StatusReader, connection: Connection
) -> None:
    rejected_id = await reject(
        connection, call_id="c-1", error=("missing_field", "recording.url is missing", "recording.url")
    )

    call = await reader.get_call("c-1")

    assert (call.status, call.rejected_id, call.result_id) == (CallStatus.REJECTED, rejected_id, None)
    assert call.error is not None
    assert call.error.field == "recording.url"


async def test_call_of_two_tenants_has_to_be_told_apart(reader: StatusReader, connection: Connection) -> None:
    await add(connection, Row(call_id="c-1", tenant_id="acme"), Row(call_id="c-1", tenant_id="zeta"))

    with pytest.raises(AmbiguousTenant) as caught:
        await reader.get_call("c-1")

    assert caught.value.tenants == ("acme", "zeta")
    assert (await reader.get_call("c-1", "zeta")).tenant_id == "zeta"
    with pytest.raises(CallNotFound):
        await reader.get_call("c-1", "nobody")


async def test_garbage_under_anothers_id_does_not_hide_a_call(
    reader: StatusReader, connection: Connection
) -> None:
    await add(connection, Row(call_id="c-1", tenant_id="acme"))
    await reject(connection, call_id="c-1", tenant_id="zeta")

    assert (await reader.get_call("c-1")).tenant_id == "acme"
    assert (await reader.get_call("c-1", "zeta")).status is CallStatus.REJECTED
    assert [entry.kind for entry in await reader.call_history("c-1", "acme")] == ["result"]


async def test_rejected_events_of_two_tenants_have_to_be_told_apart(
    reader: StatusReader, connection: Connection
) -> None:
    await reject(connection, call_id="c-1", tenant_id="acme")
    await reject(connection, call_id="c-1", tenant_id="zeta")
    await reject(connection, call_id="c-1", tenant_id=None)

    with pytest.raises(AmbiguousTenant) as caught:
        await reader.get_call("c-1")
    assert caught.value.tenants == ("acme", "zeta")


async def test_unknown_or_impossible_call_is_not_found(reader: StatusReader) -> None:
    for call_id in ("nobody", "", "../x", "a\x00b", "x" * 200, "\u202eabc"):
        with pytest.raises(CallNotFound):
            await reader.get_call(call_id)
        assert await reader.call_history(call_id, None) == ()


async def test_unknown_result_of_a_known_call_is_not_found(
    reader: StatusReader, connection: Connection
) -> None:
    await add(connection, Row(call_id="c-1"))
    with pytest.raises(CallNotFound):
        await reader.get_call("c-1", result_id=uuid4())


async def test_waiting_call_says_what_went_wrong_and_when_it_goes_on(
    reader: StatusReader, connection: Connection
) -> None:
    await add(
        connection,
        Row(call_id="c-1", status="queued", attempts=1, error=("fetch_failed", "503", True), wait_s=60),
        Row(call_id="c-2", status="queued", wait_s=-1),
    )

    waiting, due = await reader.get_call("c-1"), await reader.get_call("c-2")

    assert waiting.next_attempt_at is not None
    assert waiting.error is not None
    assert (waiting.attempts, waiting.error.code, waiting.error.retriable) == (1, "fetch_failed", True)
    assert due.next_attempt_at is None


async def test_counts_have_every_status(reader: StatusReader, connection: Connection) -> None:
    await add(connection, Row(call_id="c-1"), Row(call_id="c-2"), Row(call_id="c-3", status="queued"))
    await reject(connection)

    assert await reader.counts() == {
        CallStatus.QUEUED: 1,
        CallStatus.PROCESSING: 0,
        CallStatus.CLEANED: 2,
        CallStatus.FAILED: 0,
        CallStatus.REJECTED: 1,
        CallStatus.ERASED: 0,
    }


async def test_queue_health(reader: StatusReader, connection: Connection) -> None:
    assert await reader.queue_health() == ({"queued": 0, "processing": 0}, 0.0, 0)
    await add(
        connection,
        Row(call_id="c-1", status="queued", queued_at=NOON),
        Row(call_id="c-2", status="queued", queued_at=NOON + timedelta(hours=1)),
        Row(call_id="c-3", status="processing"),
    )
    await connection.execute(
        "INSERT INTO outbox (event_id, topic, value, headers) VALUES ('e', 'call.cleaned', '', '[]')"
    )

    health = await reader.queue_health()

    assert (health.depth, health.outbox_unsent) == ({"queued": 2, "processing": 1}, 1)
    oldest_s = await connection.fetchval("SELECT extract(epoch FROM now() - $1)::float8", NOON)
    assert health.oldest_seconds == pytest.approx(max(0.0, oldest_s), abs=30)


async def test_a_database_without_our_tables_is_an_outage(empty_database: str) -> None:
    pool = await open_pool(empty_database, size=1)
    try:
        with pytest.raises(Outage, match="clearcall migrate"):
            await StatusReader(pool).list_calls(CallFilter())
    finally:
        await pool.close()


async def test_a_closed_pool_is_an_outage(pool: Pool, reader: StatusReader) -> None:
    await pool.close()
    with pytest.raises(Outage):
        await reader.get_call("c-1")


async def test_every_page_is_read_along_an_index(connection: Connection) -> None:
    """With other plans made dear, one that still reads or sorts a whole table has no index to go along."""
    for dear in ("enable_seqscan", "enable_sort", "enable_bitmapscan"):
        await connection.execute(f"SET {dear} = off")
    cursor = Cursor(NOON, uuid4())
    for wanted in (
        CallFilter(),
        CallFilter(cursor=cursor),
        CallFilter(cursor=cursor, since=NOON, until=NOON + timedelta(days=1)),
        CallFilter(status=CallStatus.FAILED, cursor=cursor),
        CallFilter(status=CallStatus.REJECTED, cursor=cursor),
    ):
        query, arguments = list_query(wanted)
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {query}", *arguments))
        assert "Seq Scan" not in plan, plan
        assert "Sort  (" not in plan, plan
        assert "_newest" in plan, plan
