"""A worker that stops leaves no claim to its lease, and sends no event twice."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import pytest

from agents.cleaning import Cleaner, CleaningAgent
from agents.errors import CallError
from agents.ports import Claim, Send, StoredRendition
from agents.relay import Relay
from dsp import CleanReport, shipped_chain_file
from schemas import CallRecorded, OutgoingEvent

WORKER, LEASE_S = "w", 8.0


class SlowClaims:
    """A queue of one call; the database takes its time to answer, and does not stop when nobody waits any more."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer_now = asyncio.Event()
        self.queued = [
            Claim(
                result_id=uuid4(),
                lease_token=1,
                event=CallRecorded.model_validate({"call_id": "c", "recording": {"url": "s3://b/c.wav"}}),
                chain=shipped_chain_file().resolve(),
                traceparent=None,
                attempts=0,
                retry_round=0,
            )
        ]
        self.held: list[Claim] = []

    async def claim(self, *, worker: str, limit: int, lease_s: float) -> list[Claim]:
        assert (worker, lease_s) == (WORKER, LEASE_S)
        taken, self.queued = self.queued[:limit], self.queued[limit:]
        self.held += taken
        self.asked.set()
        await self.answer_now.wait()
        return taken

    async def renew(self, claims: Collection[Claim], *, lease_s: float) -> set[int]:
        return set() if lease_s == LEASE_S else {claim.lease_token for claim in claims}

    async def finish(
        self,
        claim: Claim,
        report: CleanReport,
        renditions: Sequence[StoredRendition],
        event: OutgoingEvent,
    ) -> bool:
        raise NotImplementedError

    async def fail(self, claim: Claim, error: CallError, event: OutgoingEvent) -> bool:
        raise NotImplementedError

    async def retry(self, claim: Claim, error: CallError, *, delay_s: float) -> bool:
        raise NotImplementedError

    async def release(self, claim: Claim, *, delay_s: float) -> bool:
        assert delay_s == 0.0, "somebody else may have it at once"
        self.held.remove(claim)
        return True


class FakeCleaner(Cleaner):
    """Ends a call after ``work_s`` seconds."""

    def __init__(self, claims: SlowClaims, *, work_s: float) -> None:
        self._slow_claims = self._claims = claims
        self._work_s = work_s

    async def clean(self, claim: Claim) -> None:
        await asyncio.sleep(self._work_s)
        self._slow_claims.held.remove(claim)


class SlowOutbox:
    """Holds one event; the broker confirms it only when told to, and only then is it marked."""

    def __init__(self) -> None:
        self.handed_over = asyncio.Event()
        self.confirm_now = asyncio.Event()
        self.times_sent = 0
        self.marked = False

    async def relay(self, send: Send, *, limit: int) -> int:
        assert limit > 0
        if self.marked:
            return 0
        self.times_sent += len(await send([]))
        self.marked = True
        return 1

    async def send(self, events: Sequence[OutgoingEvent]) -> frozenset[str]:
        assert not events
        self.handed_over.set()
        await self.confirm_now.wait()
        return frozenset({"event"})


class RoomyScratch:
    def folder(self, claim: Claim) -> AbstractContextManager[Path]:
        raise NotImplementedError

    def has_room(self) -> bool:
        return True


class DeafObserver:
    def claimed(self, active: int) -> None: ...

    def cleaned(self, claim: Claim, report: CleanReport, seconds: float) -> None: ...

    def failed(self, code: str) -> None: ...


@pytest.mark.parametrize("work_s", [0.0, 60.0], ids=["ends in time", "is released"])
async def test_a_claim_under_way_when_the_worker_stops_is_not_left_to_its_lease(work_s: float) -> None:
    """The row is ours once the database has it, whether or not somebody still waited for the answer."""
    claims = SlowClaims()
    agent = CleaningAgent(
        cleaner=FakeCleaner(claims, work_s=work_s),
        claims=claims,
        scratch=RoomyScratch(),
        observer=DeafObserver(),
        worker=WORKER,
        slots=1,
        lease_s=LEASE_S,
        on_ended=lambda: None,
    )
    running = asyncio.create_task(agent.run())
    await claims.asked.wait()

    running.cancel()
    asyncio.get_running_loop().call_later(0.05, claims.answer_now.set)
    await agent.drain(grace_s=0.2)

    assert claims.queued == []
    assert claims.held == []


async def test_an_event_under_way_when_the_worker_stops_is_not_sent_again() -> None:
    """It is marked as sent once the broker confirms it, whether or not somebody still waits."""
    outbox = SlowOutbox()
    relay = Relay(outbox=outbox, send=outbox.send)
    running = asyncio.create_task(relay.run())
    await outbox.handed_over.wait()

    running.cancel()
    asyncio.get_running_loop().call_later(0.05, outbox.confirm_now.set)
    await relay.flush()

    assert outbox.marked
    assert outbox.times_sent == 1


async def test_a_flush_that_is_given_up_ends_what_is_under_way() -> None:
    """A broker that does not answer holds no worker up."""
    outbox = SlowOutbox()
    relay = Relay(outbox=outbox, send=outbox.send)
    running = asyncio.create_task(relay.run(), name="run")
    await outbox.handed_over.wait()

    running.cancel()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await relay.flush()

    await asyncio.sleep(0)
    assert not outbox.marked
    assert asyncio.all_tasks() == {asyncio.current_task()}
