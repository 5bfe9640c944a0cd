"""The outbox over a real Postgres: only what the broker confirmed is marked, and nobody sends a row beside another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from agents.errors import Outage
from app.postgres.outbox import PostgresOutbox, enqueue
from schemas import OutgoingEvent
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.calls import Pool


def event(number: int) -> OutgoingEvent:
    return OutgoingEvent(
        topic_suffix="call.rejected",
        event_id=f"e-{number:03}",
        key=None if number % 2 else b"acme/c-1",
        value=f'{{"ü": {number}}}'.encode(),
        headers=(("ce_id", b"e"), ("ce_id", b"twice"), ("content-type", "jsön".encode())),
    )


async def fill(pool: Pool, count: int) -> None:
    async with pool.acquire() as connection, connection.transaction():
        for number in range(count):
            await enqueue(connection, event(number), result_id=None)


async def unsent(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT event_id FROM outbox WHERE sent_at IS NULL ORDER BY outbox_id")
    return [row["event_id"] for row in rows]


class Broker:
    """Confirms what it is told to, and remembers what it was sent."""

    def __init__(self, *, refuses: frozenset[str] = frozenset()) -> None:
        self.refuses = refuses
        self.sent: list[OutgoingEvent] = []
        self.may_confirm = asyncio.Event()
        self.may_confirm.set()

    async def __call__(self, events: Sequence[OutgoingEvent]) -> frozenset[str]:
        self.sent += events
        await self.may_confirm.wait()
        return frozenset(event.event_id for event in events) - self.refuses


async def test_events_go_out_as_they_were_put_in_oldest_first(pool: Pool) -> None:
    await fill(pool, 5)
    broker = Broker()

    assert await PostgresOutbox(pool).relay(broker, limit=3) == 3
    assert broker.sent == [event(0), event(1), event(2)]
    assert await PostgresOutbox(pool).relay(broker, limit=3) == 2
    assert broker.sent == [event(number) for number in range(5)]
    assert await unsent(pool) == []


async def test_an_empty_outbox_asks_nothing_of_the_broker(pool: Pool) -> None:
    broker = Broker()

    assert await PostgresOutbox(pool).relay(broker, limit=100) == 0
    assert broker.sent == []


async def test_the_same_event_is_kept_once(pool: Pool) -> None:
    await fill(pool, 2)
    await fill(pool, 3)

    assert await unsent(pool) == ["e-000", "e-001", "e-002"]


async def test_only_what_was_confirmed_is_marked(pool: Pool) -> None:
    await fill(pool, 3)

    assert await PostgresOutbox(pool).relay(Broker(refuses=frozenset({"e-001"})), limit=100) == 2
    assert await unsent(pool) == ["e-001"]

    again = Broker()
    assert await PostgresOutbox(pool).relay(again, limit=100) == 1
    assert again.sent == [event(1)]


async def test_an_outage_of_the_broker_marks_nothing_and_is_told_as_the_brokers(pool: Pool) -> None:
    await fill(pool, 2)

    async def is_away(_events: Sequence[OutgoingEvent]) -> frozenset[str]:
        raise Outage("Kafka", "no answer")

    with pytest.raises(Outage, match="Kafka is away: no answer"):
        await PostgresOutbox(pool).relay(is_away, limit=100)
    assert await unsent(pool) == ["e-000", "e-001"]


async def test_two_relays_share_the_rows_and_send_none_twice(pool: Pool) -> None:
    await fill(pool, 10)
    first, second = Broker(), Broker()
    first.may_confirm.clear()
    sending = asyncio.create_task(PostgresOutbox(pool).relay(first, limit=6))
    await until(lambda: first.sent)

    assert await PostgresOutbox(pool).relay(second, limit=6) == 4
    assert await PostgresOutbox(pool).relay(second, limit=6) == 0

    first.may_confirm.set()
    assert await sending == 6
    assert [sent.event_id for sent in first.sent + second.sent] == [f"e-{number:03}" for number in range(10)]
    assert await unsent(pool) == []


async def test_a_relay_that_dies_after_sending_leaves_the_rows_to_be_sent_again(pool: Pool) -> None:
    await fill(pool, 2)
    dying, next_one = Broker(), Broker()
    dying.may_confirm.clear()
    sending = asyncio.create_task(PostgresOutbox(pool).relay(dying, limit=100))
    await until(lambda: dying.sent)

    killed = await pool.fetchval(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE state = 'idle in transaction' AND datname = current_database()"
    )
    dying.may_confirm.set()
    assert killed == 1
    with pytest.raises(Outage, match="Postgres is away"):
        await sending

    assert await PostgresOutbox(pool).relay(next_one, limit=100) == 2
    assert next_one.sent == dying.sent


async def test_a_relay_that_is_stopped_while_sending_marks_nothing(pool: Pool) -> None:
    await fill(pool, 1)
    broker = Broker()
    broker.may_confirm.clear()
    sending = asyncio.create_task(PostgresOutbox(pool).relay(broker, limit=100))
    await until(lambda: broker.sent)

    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert await unsent(pool) == ["e-000"]
