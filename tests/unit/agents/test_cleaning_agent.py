"""The agent that claims: slots, leases, and what it does while a part is away or the disk is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import agents.cleaning
from agents.cleaning import Cleaner, CleaningAgent
from agents.errors import Outage
from agents.ports import Claim
from tests.support.fakes import FakeClaims, FakeObserver, FakeScratch, Gate
from tests.support.waiting import until
from tests.support.work import claim, recorded

LONG_S = 60.0


def due(count: int) -> list[Claim]:
    return [claim(recorded(f"c-{number}"), lease_token=number) for number in range(1, count + 1)]


class GatedCleaner(Cleaner):
    """Holds every call at a gate, then remembers it."""

    def __init__(self, claims: FakeClaims) -> None:
        self._claims = claims
        self.gate = Gate()
        self.cleaned: list[int] = []
        self.cancelled: list[int] = []

    async def clean(self, claim: Claim) -> None:
        try:
            await self.gate()
        except asyncio.CancelledError:
            self.cancelled.append(claim.lease_token)
            raise
        self.cleaned.append(claim.lease_token)


class Bench:
    """An agent and the fakes around it."""

    def __init__(
        self, folder: Path, *claims: Claim, slots: int = 3, lease_s: float = LONG_S, poll_s: float = 0.01
    ) -> None:
        self.claims = FakeClaims(*claims)
        self.scratch = FakeScratch(folder)
        self.observer = FakeObserver()
        self.cleaner = GatedCleaner(self.claims)
        self.ended = 0
        self.agent = CleaningAgent(
            cleaner=self.cleaner,
            claims=self.claims,
            scratch=self.scratch,
            observer=self.observer,
            worker="w-1",
            slots=slots,
            lease_s=lease_s,
            on_ended=self._one_ended,
            poll_s=poll_s,
        )

    def _one_ended(self) -> None:
        self.ended += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        run = asyncio.create_task(self.agent.run())
        try:
            yield
        finally:
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run

    def renewed(self) -> list[set[int]]:
        return [asked.given["tokens"] for asked in self.claims.asked if asked.name == "renew"]

    def released(self) -> list[tuple[int, float]]:
        return [
            (asked.given["claim"].lease_token, asked.given["delay_s"])
            for asked in self.claims.asked
            if asked.name == "release"
        ]


async def test_never_more_calls_than_slots_and_all_in_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *due(20), slots=3)
    async with bench.running():
        await until(lambda: bench.cleaner.gate.waiting == 3)
        await asyncio.sleep(0.05)
        assert bench.cleaner.gate.waiting == 3
        bench.cleaner.gate.open()
        await until(lambda: bench.ended == 20)

    assert sorted(bench.cleaner.cleaned) == list(range(1, 21))
    assert bench.cleaner.gate.most_waiting == 3
    assert max(bench.observer.active) == 3
    assert bench.observer.active[-1] == 0
    limits = [asked.given["limit"] for asked in bench.claims.asked if asked.name == "claim"]
    assert max(limits) == 3
    assert min(limits) >= 1


async def test_what_was_woken_does_not_wait_for_the_next_look(tmp_path: Path) -> None:
    bench = Bench(tmp_path, poll_s=LONG_S)
    bench.cleaner.gate.open()
    async with bench.running():
        await until(lambda: "claim" in bench.claims.names())
        bench.claims.due = due(1)
        bench.agent.wake()
        await until(lambda: bench.ended == 1, within_s=2.0)


async def test_a_call_that_ends_makes_room_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *due(9), slots=1, poll_s=LONG_S)
    bench.cleaner.gate.open()
    async with bench.running():
        await until(lambda: bench.ended == 9, within_s=2.0)


async def test_what_comes_by_itself_is_found_by_looking(tmp_path: Path) -> None:
    """A retry that falls due, or another worker's expired lease: nobody says so."""
    bench = Bench(tmp_path, poll_s=0.01)
    bench.cleaner.gate.open()
    async with bench.running():
        await until(lambda: bench.claims.names().count("claim") > 2)
        bench.claims.due = due(1)
        await until(lambda: bench.ended == 1, within_s=2.0)


async def test_leases_of_calls_in_work_are_renewed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *due(2), lease_s=0.08)
    async with bench.running():
        await until(lambda: bench.renewed().count({1, 2}) >= 3)
        bench.cleaner.gate.open()
        await until(lambda: bench.ended == 2)


async def test_a_lost_lease_ends_its_call_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *due(3), lease_s=0.08)
    async with bench.running():
        await until(lambda: bench.cleaner.gate.waiting == 3)
        bench.claims.lost = {2, 99}
        await until(lambda: bench.ended == 1)
        assert bench.cleaner.cancelled == [2]
        bench.claims.due = [claim(recorded("c-4"), lease_token=4)]
        await until(lambda: bench.cleaner.gate.waiting == 3)
        bench.cleaner.gate.open()
        await until(lambda: bench.ended == 4)

    assert sorted(bench.cleaner.cleaned) == [1, 3, 4]
    assert bench.released() == [], "a lost claim is not ours to release"


@pytest.mark.parametrize("error", [Outage("Postgres", "no answer"), RuntimeError("a fault of ours")])
async def test_renewing_goes_on_after_an_error(tmp_path: Path, error: Exception) -> None:
    bench = Bench(tmp_path, *due(1), lease_s=0.04)
    bench.claims.errors["renew"] = [error] * 3
    async with bench.running():
        await until(lambda: len(bench.renewed()) >= 5)

    assert bench.cleaner.cancelled == []


async def test_an_outage_while_claiming_is_waited_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *due(1))
    bench.claims.outages("claim", count=1)
    bench.cleaner.gate.open()
    async with bench.running():
        await until(lambda: bench.ended == 1)

    assert bench.claims.names()[:2] == ["claim", "claim"]


async def test_an_error_that_nobody_foresaw_ends_the_run(tmp_path: Path) -> None:
    """The worker stops then, and is started anew, instead of standing still."""
    bench = Bench(tmp_path)
    bench.claims.errors["claim"] = [ZeroDivisionError()]

    with pytest.raises(ZeroDivisionError):
        await bench.agent.run()


@pytest.mark.parametrize(
    "is_full", [lambda scratch: setattr(scratch, "room", False), lambda scratch: scratch.outages("has_room")]
)
async def test_nothing_is_claimed_without_room_on_the_disk(
    tmp_path: Path, is_full: Callable[[FakeScratch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path, *due(1))
    bench.cleaner.gate.open()
    is_full(bench.scratch)
    async with bench.running():
        await until(lambda: bench.scratch.names().count("has_room") >= 2)
        assert bench.claims.asked == []

        bench.scratch.room = True
        bench.scratch.errors.clear()
        await until(lambda: bench.ended == 1)


async def test_calls_in_work_go_on_when_the_agent_stops_and_are_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *due(5), slots=2, lease_s=0.08)
    async with bench.running():
        await until(lambda: bench.cleaner.gate.waiting == 2)

    draining = asyncio.create_task(bench.agent.drain(grace_s=LONG_S))
    before = len(bench.renewed())
    await until(lambda: len(bench.renewed()) >= before + 2)
    bench.cleaner.gate.open()
    await draining

    assert sorted(bench.cleaner.cleaned) == [1, 2]
    assert len(bench.claims.due) == 3, "nothing more is claimed"
    assert bench.released() == []


async def test_what_does_not_end_in_time_is_put_back_at_once_and_uncounted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, *due(2))
    async with bench.running():
        await until(lambda: bench.cleaner.gate.waiting == 2)

    await bench.agent.drain(grace_s=0.05)

    assert sorted(bench.cleaner.cancelled) == [1, 2]
    assert sorted(bench.released()) == [(1, 0.0), (2, 0.0)]
    assert bench.ended == 2


@pytest.mark.parametrize("is_silent", [False, True])
async def test_draining_ends_though_the_database_is_away_or_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_silent: bool
) -> None:
    monkeypatch.setattr(agents.cleaning, "_RELEASE_WITHIN_S", 0.05)
    bench = Bench(tmp_path, *due(2))
    bench.claims.outages("release")
    if is_silent:
        monkeypatch.setattr(bench.claims, "release", Gate())
    async with bench.running():
        await until(lambda: bench.cleaner.gate.waiting == 2)

    async with asyncio.timeout(2):
        await bench.agent.drain(grace_s=0.0)

    assert sorted(bench.cleaner.cancelled) == [1, 2]


async def test_an_agent_that_never_ran_drains_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    await bench.agent.drain(grace_s=LONG_S)

    assert bench.claims.asked == []
