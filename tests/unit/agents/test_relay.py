"""The relay's loop: what is there goes out, an outage is waited out, and a stopping worker sends what it can."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from agents.errors import Outage
from agents.ports import Send
from agents.relay import Relay
from schemas import OutgoingEvent
from tests.support.fakes import Faults
from tests.support.waiting import until

LONG_S = 60.0


class CountingOutbox(Faults):
    """Holds so many events."""

    def __init__(self, unsent: int = 0) -> None:
        super().__init__()
        self.unsent = unsent
        self.sent = 0
        self.event: OutgoingEvent | None = None
        self.confirmed: frozenset[str] = frozenset()

    async def relay(self, send: Send, *, limit: int) -> int:
        self.note("relay", send=send, limit=limit)
        batch = min(limit, self.unsent)
        self.unsent -= batch
        self.sent += batch
        if self.event is not None:
            self.confirmed |= await send([self.event])
        return batch


async def send(events: Sequence[OutgoingEvent]) -> frozenset[str]:
    return frozenset(event.event_id for event in events if event.event_id != "refused")


@asynccontextmanager
async def running(outbox: CountingOutbox, *, poll_s: float = LONG_S) -> AsyncIterator[Relay]:
    relay = Relay(outbox=outbox, send=send, poll_s=poll_s)
    run = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


async def test_everything_that_is_there_goes_out_without_a_pause() -> None:
    outbox = CountingOutbox(250)
    async with running(outbox):
        await until(lambda: outbox.sent == 250, within_s=2.0)


async def test_what_was_woken_does_not_wait_for_the_next_look() -> None:
    outbox = CountingOutbox()
    async with running(outbox) as relay:
        await until(lambda: outbox.asked)
        outbox.unsent = 1
        relay.wake()
        await until(lambda: outbox.sent == 1, within_s=2.0)


async def test_what_another_worker_left_is_found_by_looking() -> None:
    outbox = CountingOutbox()
    async with running(outbox, poll_s=0.01):
        await until(lambda: len(outbox.asked) > 2)
        outbox.unsent = 1
        await until(lambda: outbox.sent == 1, within_s=2.0)


async def test_an_empty_outbox_is_not_asked_over_and_over() -> None:
    outbox = CountingOutbox()
    async with running(outbox, poll_s=LONG_S):
        await asyncio.sleep(0.1)

    assert len(outbox.asked) == 1


async def test_an_outage_is_waited_out() -> None:
    outbox = CountingOutbox(3)
    outbox.outages("relay", count=1)
    async with running(outbox):
        await until(lambda: outbox.sent == 3)


async def test_a_stopping_worker_sends_what_is_there_once() -> None:
    outbox = CountingOutbox(205)

    await Relay(outbox=outbox, send=send).flush()

    assert (outbox.sent, len(outbox.asked)) == (205, 3)


async def test_a_stopping_worker_does_not_wait_for_a_broker_that_is_away() -> None:
    outbox = CountingOutbox(3)
    outbox.errors["relay"] = [Outage("Kafka", "no answer")]

    async with asyncio.timeout(1):
        await Relay(outbox=outbox, send=send).flush()

    assert outbox.sent == 0


@pytest.mark.parametrize(
    ("key", "tenant", "call"),
    [(b"acme/sip:kim@example.org", "acme", "sip:kim@example.org"), (None, None, None)],
)
async def test_an_event_that_was_sent_is_told_with_its_call(
    key: bytes | None, tenant: str | None, call: str | None
) -> None:
    outbox = CountingOutbox(1)
    outbox.event = OutgoingEvent(
        topic_suffix="call.cleaned", event_id="e-1", key=key, value=b"{}", headers=()
    )

    with capture_logs() as told:
        await Relay(outbox=outbox, send=send).flush()

    assert outbox.confirmed == {"e-1"}
    assert told == [
        {
            "event": "event sent",
            "topic": "call.cleaned",
            "event_id": "e-1",
            "tenant": tenant,
            "call": call,
            "log_level": "info",
        }
    ]


async def test_an_event_that_was_not_confirmed_is_not_told_as_sent() -> None:
    outbox = CountingOutbox(1)
    outbox.event = OutgoingEvent(
        topic_suffix="call.cleaned", event_id="refused", key=None, value=b"{}", headers=()
    )

    with capture_logs() as told:
        await Relay(outbox=outbox, send=send).flush()

    assert (outbox.confirmed, told) == (frozenset(), [])
