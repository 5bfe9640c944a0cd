"""How a record of Faust's stream is taken in: acked only when it is kept, and handed back by a worker that leaves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

import app.compose
from agents.errors import Outage
from agents.ports import RawEvent
from app.compose import take
from tests.support.waiting import until


class FakeIntake:
    """Takes events, or fails as it is told."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.taken: list[RawEvent] = []
        self.asked = 0
        self.hangs = False

    async def take(self, raw: RawEvent) -> None:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(raw)


class Unacked(list[Any]):
    """Faust's set of messages in hand (the stand-ins have no hash)."""

    def discard(self, message: Any) -> None:
        self.remove(message)


class Bench:
    """A worker of which only this is real: how it takes an event."""

    def __init__(
        self, *errors: Exception, headers: Any = (("ce_id", b"1"),), timestamp: float | None = 1.5
    ) -> None:
        message = SimpleNamespace(
            topic="call.recorded", partition=3, offset=7, timestamp=timestamp, headers=headers, value=b"{}"
        )
        self.event: Any = SimpleNamespace(message=message)
        self.intake = FakeIntake(*errors)
        self.services: Any = SimpleNamespace(intake=self.intake)
        self.app: Any = SimpleNamespace(
            should_stop=False, rebalancing=False, consumer=SimpleNamespace(unacked=Unacked([message]))
        )

    async def take(self) -> bool:
        return await take(self.app, self.services, self.event)


@pytest.fixture(autouse=True)
def _wait_little(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOOK_EVERY_S", "_AFTER_A_FAULT_S", "_LEAVE_WITHIN_S"):
        monkeypatch.setattr(app.compose, name, 0.01)


@pytest.mark.parametrize("headers", [[("ce_id", b"1")], (("ce_id", b"1"),), {"ce_id": b"1"}])
async def test_a_record_is_taken_as_the_broker_gave_it(headers: Any) -> None:
    bench = Bench(headers=headers)

    assert await bench.take() is True

    assert bench.intake.taken == [
        RawEvent(
            topic="call.recorded",
            partition=3,
            offset=7,
            timestamp_ms=1500,
            headers=(("ce_id", b"1"),),
            value=b"{}",
        )
    ]
    assert len(bench.app.consumer.unacked) == 1, "Faust's ack takes it out"


async def test_a_record_without_time_or_headers_is_taken() -> None:
    bench = Bench(headers=None, timestamp=None)

    assert await bench.take() is True
    assert (bench.intake.taken[0].timestamp_ms, bench.intake.taken[0].headers) == (None, ())


@pytest.mark.parametrize("error", [Outage("Postgres", "no answer"), ZeroDivisionError()])
async def test_what_goes_wrong_is_waited_out_and_never_acked_unkept(error: Exception) -> None:
    bench = Bench(*[error] * 4)

    assert await bench.take() is True
    assert (bench.intake.asked, len(bench.intake.taken)) == (5, 1)


@pytest.mark.parametrize("why", ["should_stop", "rebalancing"])
@pytest.mark.parametrize("error", [Outage("Postgres", "no answer"), ZeroDivisionError()])
async def test_a_worker_that_leaves_hands_the_event_back(why: str, error: Exception) -> None:
    bench = Bench(*[error] * 1_000_000)
    taking = asyncio.create_task(bench.take())
    await until(lambda: bench.intake.asked > 1)

    setattr(bench.app, why, True)

    async with asyncio.timeout(2):
        assert await taking is False
    assert bench.app.consumer.unacked == [], "neither a stop nor a rebalance waits for it"


async def test_a_worker_that_leaves_does_not_wait_for_a_database_that_is_silent() -> None:
    bench = Bench()
    bench.intake.hangs = True
    taking = asyncio.create_task(bench.take())
    await until(lambda: bench.intake.asked)

    bench.app.should_stop = True

    async with asyncio.timeout(2):
        assert await taking is False
    assert bench.app.consumer.unacked == []


async def test_a_worker_that_has_left_tries_no_more() -> None:
    bench = Bench()
    bench.app.should_stop = True

    assert await bench.take() is False
    assert bench.intake.asked == 0
