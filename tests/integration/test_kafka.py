"""Topics and the relay's producer, over a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

import app.kafka
from agents.errors import Outage
from app.kafka import TOPICS, EventSender, create_topics, missing_topics
from app.settings import Settings
from schemas import OutgoingEvent, TopicSuffix
from tests.support.kafka import Kafka
from tests.support.ports import LOOPBACK, free_port
from tests.support.waiting import until


@pytest.fixture
def settings(kafka: Kafka, unique_name: str) -> Settings:
    return Settings(kafka_bootstrap=kafka.bootstrap, topic_prefix=f"{unique_name}.", topic_partitions=3)


@pytest.fixture
async def sender(settings: Settings) -> AsyncIterator[EventSender]:
    sender = EventSender(settings)
    yield sender
    await sender.close()


def event(number: int, suffix: TopicSuffix = "call.cleaned", *, size_bytes: int = 10) -> OutgoingEvent:
    return OutgoingEvent(
        topic_suffix=suffix,
        event_id=f"e-{number}",
        key=None if suffix == "call.rejected" else f"acme/c-{number}".encode(),
        value=str(number).encode().rjust(size_bytes),
        headers=(
            ("ce_id", f"e-{number}".encode()),
            ("content-type", b"application/json"),
            ("x", b"\xff\x00"),
        ),
    )


def ids(*events: OutgoingEvent) -> frozenset[str]:
    return frozenset(event.event_id for event in events)


async def sent(kafka: Kafka, settings: Settings, suffix: str = "call.cleaned") -> list[dict[str, Any]]:
    records = await kafka.records(settings.topic(suffix))
    return sorted(
        ({"key": r.key, "value": r.value, "headers": tuple(r.headers)} for r in records),
        key=lambda record: bytes(record["value"]),
    )


async def test_topics_are_created_once_with_their_partitions(kafka: Kafka, settings: Settings) -> None:
    names = [settings.topic(suffix) for suffix in TOPICS]
    assert await missing_topics(settings) == names

    assert await create_topics(settings) == names

    await until(lambda: _all_there(settings))
    assert await create_topics(settings) == []
    assert {record.partition for record in await _one_record_a_partition(kafka, names[0])} == {0, 1, 2}


async def _all_there(settings: Settings) -> bool:
    """Whether the broker tells of what it has created; it does so a moment later."""
    return not await missing_topics(settings)


async def _one_record_a_partition(kafka: Kafka, topic: str) -> list[Any]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        for partition in await producer.partitions_for(topic):
            await producer.send_and_wait(topic, b"x", partition=partition)
    finally:
        await producer.stop()
    return await kafka.records(topic)


async def test_workers_that_create_topics_at_the_same_moment_do_not_fail(settings: Settings) -> None:
    created = await asyncio.gather(*(create_topics(settings) for _ in range(3)))

    assert max(created, key=len) == [settings.topic(suffix) for suffix in TOPICS]
    await until(lambda: _all_there(settings))


async def test_only_what_is_missing_is_created(kafka: Kafka, settings: Settings) -> None:
    ours = settings.topic("call.recorded")
    await kafka.create_topic(ours, partitions=1)

    async def is_known() -> bool:
        return ours not in await missing_topics(settings)

    await until(is_known)

    assert set(await create_topics(settings)) == {settings.topic(suffix) for suffix in TOPICS} - {ours}


async def test_topics_that_the_broker_refuses_are_an_outage_that_says_why(settings: Settings) -> None:
    greedy = settings.model_copy(update={"topic_replication": 3})

    with pytest.raises(Outage, match=r"call.recorded' could not be created: .*replication"):
        await create_topics(greedy)


async def test_a_broker_that_is_not_there_is_an_outage_that_says_where() -> None:
    address = f"{LOOPBACK}:{free_port()}"
    nowhere = Settings(kafka_bootstrap=address)

    for asked in (missing_topics(nowhere), create_topics(nowhere), EventSender(nowhere)([event(1)])):
        with pytest.raises(Outage, match=address):
            await asked


async def test_events_go_out_as_they_are_and_are_confirmed(
    kafka: Kafka, settings: Settings, sender: EventSender
) -> None:
    await create_topics(settings)
    cleaned, rejected = (
        [event(number) for number in range(20)],
        [event(99, "call.rejected", size_bytes=720_000)],
    )

    assert await sender([*cleaned, *rejected]) == ids(*cleaned, *rejected)

    for suffix, events in (("call.cleaned", cleaned), ("call.rejected", rejected)):
        assert await sent(kafka, settings, suffix) == [
            {"key": told.key, "value": told.value, "headers": told.headers} for told in events
        ]


async def test_an_event_that_the_broker_refuses_holds_up_no_other(
    kafka: Kafka, settings: Settings, sender: EventSender
) -> None:
    await kafka.create_topic(settings.topic("call.rejected"), max_message_bytes=2_000)
    await create_topics(settings)
    small, large = event(1), event(2, "call.rejected", size_bytes=10_000)

    assert await sender([small, large]) == ids(small)
    assert await sender([event(3)]) == ids(event(3))
    with pytest.raises(Outage, match=r"MessageSizeTooLarge|too large|larger than"):
        await sender([large])

    assert [record["value"] for record in await sent(kafka, settings)] == [event(1).value, event(3).value]


async def test_a_broker_that_goes_away_is_an_outage_and_the_sender_recovers_and_sends_once(
    kafka: Kafka, settings: Settings, sender: EventSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.kafka, "_CONFIRMED_WITHIN_S", 1.0)
    await create_topics(settings)
    assert await sender([event(1)])

    kafka.stop()
    for _ in range(2):
        with pytest.raises(Outage, match=r"Kafka is away: no confirmation within 1 s"):
            await sender([event(2), event(3)])
    kafka.start()

    monkeypatch.setattr(app.kafka, "_CONFIRMED_WITHIN_S", 30.0)
    assert await sender([event(2), event(3), event(4)]) == ids(event(2), event(3), event(4))
    assert [record["value"] for record in await sent(kafka, settings)] == [
        event(n).value for n in (1, 2, 3, 4)
    ]


async def test_a_broker_that_falls_silent_holds_nobody_up_for_long(
    kafka: Kafka, settings: Settings, sender: EventSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.kafka, "_CONFIRMED_WITHIN_S", 0.5)
    await create_topics(settings)
    assert await sender([event(1)])

    kafka.process.suspend()
    async with asyncio.timeout(3):
        with pytest.raises(Outage):
            await sender([event(2)])
    kafka.process.resume()

    monkeypatch.setattr(app.kafka, "_CONFIRMED_WITHIN_S", 30.0)
    assert await sender([event(2)]) == ids(event(2))


async def test_a_relay_that_is_stopped_while_sending_does_not_send_again(
    kafka: Kafka, settings: Settings, sender: EventSender
) -> None:
    await create_topics(settings)
    assert await sender([event(1)])
    kafka.process.suspend()
    sending = asyncio.create_task(sender([event(2)]))
    await asyncio.sleep(0.2)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    kafka.process.resume()

    assert await sender([event(2)]) == ids(event(2))
    assert [record["value"] for record in await sent(kafka, settings)] == [event(1).value, event(2).value]
