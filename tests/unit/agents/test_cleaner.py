"""Cleaning one call: what counts as an attempt, what is waited for, and that every way ends somewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agents.cleaning
import dsp
from agents.cleaning import Cleaner, RetryPolicy
from agents.errors import CallError, Outage
from agents.ports import Claim
from schemas import failed_event_id
from tests.support.fakes import (
    FakeClaims,
    FakeExecutor,
    FakeFetcher,
    FakeObserver,
    FakeScratch,
    FakeStore,
    Gate,
)
from tests.support.waiting import until
from tests.support.work import SHA256, SOURCE, claim, recorded

RETRY = RetryPolicy(max_attempts=3, min_s=2.0, max_s=600.0, patience_s=5.0)
IMPATIENT = RetryPolicy(max_attempts=3, min_s=2.0, max_s=600.0, patience_s=0.0)
BROKEN = CallError("dsp_crashed", "The process ended by signal 9.", retriable=True)
REFUSED = CallError("empty_file", "The file has no bytes.", retriable=False)


class TestRetryPolicy:
    @given(
        attempt=st.integers(1, 100),
        min_s=st.floats(0.01, 100),
        more_s=st.floats(0, 10_000),
    )
    def test_a_wait_lies_within_the_doubling_span(self, attempt: int, min_s: float, more_s: float) -> None:
        policy = RetryPolicy(max_attempts=100, min_s=min_s, max_s=min_s + more_s)

        assert 0.0 <= policy.delay_s(attempt) <= min(min_s * 2.0 ** (attempt - 1), min_s + more_s)

    def test_waits_are_spread_over_the_whole_span(self) -> None:
        waits = [RETRY.delay_s(3) for _ in range(400)]

        assert min(waits) < 1.0
        assert max(waits) > 7.0

    @pytest.mark.parametrize(("attempts", "is_last"), [(0, False), (1, False), (2, True), (3, True)])
    def test_the_last_attempt_is_the_one_that_fills_the_round(self, attempts: int, *, is_last: bool) -> None:
        assert RETRY.is_last(claim(attempts=attempts)) is is_last


class Bench:
    """A cleaner, its claim and the fakes around it."""

    def __init__(self, held: Claim, folder: Path, retry: RetryPolicy = RETRY) -> None:
        self.held = held
        self.claims = FakeClaims()
        self.fetcher = FakeFetcher()
        self.executor = FakeExecutor(held)
        self.store = FakeStore()
        self.scratch = FakeScratch(folder)
        self.observer = FakeObserver()
        self.retry = retry

    async def clean(self) -> list[str]:
        """Clean; answers what was asked of the claims."""
        cleaner = Cleaner(
            claims=self.claims,
            fetcher=self.fetcher,
            executor=self.executor,
            store=self.store,
            scratch=self.scratch,
            observer=self.observer,
            retry=self.retry,
            source=SOURCE,
        )
        await cleaner.clean(self.held)
        assert not list(self.scratch.root.iterdir()), "the scratch folder is left clean, however it ends"
        return self.claims.names()

    def given(self) -> dict[str, Any]:
        """Give what the last question to the claims was given."""
        return self.claims.asked[-1].given


@pytest.fixture(autouse=True)
def _wait_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents.cleaning, "_WAIT_FIRST_S", 0.001)
    monkeypatch.setattr(agents.cleaning, "_WAIT_MOST_S", 0.002)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(claim(lease_token=7), tmp_path)


async def test_a_call_is_fetched_cleaned_stored_and_finished(tmp_path: Path) -> None:
    event = recorded(
        "c-42",
        recording_id="r-1",
        channels=[{"role": "agent", "name": "Kim"}, {"role": "customer"}],
        pauses=[{"start_s": 1.0, "end_s": 2.5, "reason": "payment"}],
        recording={"encoding": {"format": "ulaw", "channels": 2}, "sha256": SHA256, "bytes": 11},
    )
    bench = Bench(claim(event), tmp_path)

    assert await bench.clean() == ["finish"]

    assert bench.fetcher.asked[0].given["url"] == event.recording.url
    assert bench.fetcher.asked[0].given["tenant_id"] == "acme"
    source = bench.executor.asked[0].given["source"]
    assert source == dsp.Source(
        path=bench.fetcher.asked[0].given["to"],
        encoding=dsp.Encoding(format="ulaw", sample_rate_hz=8000, channels=2),
        channels=(dsp.ChannelInfo(role="agent", name="Kim"), dsp.ChannelInfo(role="customer")),
        pauses=(dsp.Pause(start_s=1.0, end_s=2.5, reason="payment"),),
    )
    digest = bench.held.chain.digest
    assert [asked.given for asked in bench.store.asked] == [
        {"key": f"acme/c-42/r-1/{digest}/listen.flac", "media_type": "audio/flac"},
        {"key": f"acme/c-42/r-1/{digest}/asr.wav", "media_type": "audio/wav"},
    ]
    finished = bench.given()
    assert [rendition.object.url for rendition in finished["renditions"]] == [
        f"s3://clearcall/acme/c-42/r-1/{digest}/{name}" for name in ("listen.flac", "asr.wav")
    ]
    assert finished["event"].topic_suffix == "call.cleaned"
    assert [held for held, _ in bench.observer.results] == [bench.held]
    assert bench.observer.failures == []


PARTS = {"fetch": "fetcher", "put": "store", "finish": "claims"}


@pytest.mark.parametrize("step", PARTS)
async def test_a_part_of_ours_that_is_away_for_a_while_is_waited_for(bench: Bench, step: str) -> None:
    getattr(bench, PARTS[step]).outages(step, count=4)

    names = await bench.clean()

    assert set(names) == {"finish"}
    assert len(bench.observer.results) == 1
    assert bench.executor.names() == ["clean"], "what was computed is not computed again"


@pytest.mark.parametrize("step", ["folder", "fetch", "clean", "put"])
async def test_a_part_of_ours_that_stays_away_costs_no_attempt(tmp_path: Path, step: str) -> None:
    bench = Bench(claim(), tmp_path, IMPATIENT)
    part = {"folder": bench.scratch, "fetch": bench.fetcher, "clean": bench.executor, "put": bench.store}[
        step
    ]
    part.outages(step)

    assert await bench.clean() == ["release"]

    assert bench.given()["claim"] is bench.held
    assert 0.0 <= bench.given()["delay_s"] <= 2.0
    assert (bench.observer.results, bench.observer.failures) == ([], [])


async def test_where_even_the_release_cannot_be_written_the_lease_ends_by_itself(tmp_path: Path) -> None:
    bench = Bench(claim(), tmp_path, IMPATIENT)
    for step in ("finish", "release"):
        bench.claims.outages(step)

    assert await bench.clean() == ["finish", "release"]


@pytest.mark.parametrize("attempts", [0, 1])
async def test_an_attempt_that_failed_is_tried_again_later(tmp_path: Path, attempts: int) -> None:
    bench = Bench(claim(attempts=attempts), tmp_path)
    bench.executor.errors["clean"] = [BROKEN]

    assert await bench.clean() == ["retry"]

    assert bench.given()["error"] is BROKEN
    assert 0.0 <= bench.given()["delay_s"] <= 2.0 * 2**attempts
    assert bench.observer.failures == []


async def test_the_last_attempt_that_failed_gives_the_call_up_and_tells_why(tmp_path: Path) -> None:
    bench = Bench(claim(attempts=2, retry_round=1), tmp_path)
    bench.executor.errors["clean"] = [BROKEN]

    assert await bench.clean() == ["fail"]

    event = bench.given()["event"]
    assert event.topic_suffix == "call.failed"
    assert event.event_id == str(failed_event_id(bench.held.result_id, 1))
    assert json.loads(event.value)["error"] == {
        "code": "dsp_crashed",
        "message": "The process ended by signal 9.",
        "retriable": True,
        "attempts": 3,
    }
    assert bench.observer.failures == ["dsp_crashed"]


async def test_what_cannot_get_better_is_given_up_at_once(bench: Bench) -> None:
    bench.executor.errors["clean"] = [REFUSED]

    assert await bench.clean() == ["fail"]

    assert json.loads(bench.given()["event"].value)["error"]["attempts"] == 1
    assert bench.observer.failures == ["empty_file"]


@pytest.mark.parametrize("errors", [[BROKEN], [REFUSED]], ids=["retry", "fail"])
async def test_an_outcome_is_written_when_the_database_is_back(
    bench: Bench, errors: list[BaseException]
) -> None:
    bench.executor.errors["clean"] = errors
    for step in ("retry", "fail"):
        bench.claims.outages(step, count=3)

    assert len(await bench.clean()) == 4


async def test_a_call_waits_for_room_on_the_scratch_disk_and_is_not_fetched_again(bench: Bench) -> None:
    bench.executor.errors["clean"] = [Outage("scratch disk", "No space left on device")] * 2

    assert await bench.clean() == ["finish"]

    assert len(bench.fetcher.asked) == 1
    assert len(bench.executor.asked) == 3


@pytest.mark.parametrize("error", [Outage("Postgres", "no answer"), RuntimeError("a fault of ours")])
@pytest.mark.parametrize("errors", [[BROKEN], [REFUSED]], ids=["retry", "fail"])
async def test_an_outcome_that_cannot_be_written_is_left_to_the_lease(
    tmp_path: Path, errors: list[BaseException], error: Exception
) -> None:
    bench = Bench(claim(), tmp_path, IMPATIENT)
    bench.executor.errors["clean"] = errors
    for step in ("retry", "fail"):
        bench.claims.errors[step] = [error] * 10

    assert len(await bench.clean()) == 1
    assert bench.observer.failures == []


@pytest.mark.parametrize(
    ("said", "told"),
    [({"sha256": "f" * 64}, "SHA-256"), ({"bytes": 12}, "has 12 bytes, but 11 were fetched")],
)
async def test_a_recording_that_is_not_what_the_event_says_fails(
    tmp_path: Path, said: dict[str, Any], told: str
) -> None:
    bench = Bench(claim(recorded(recording=said)), tmp_path)

    assert await bench.clean() == ["fail"]

    error = bench.given()["error"]
    assert (error.code, error.retriable) == ("checksum_mismatch", False)
    assert told in error.message
    assert bench.executor.asked == []


async def test_a_fault_of_ours_is_tried_again_and_tells_no_details_to_the_world(bench: Bench) -> None:
    bench.executor.errors["clean"] = [ZeroDivisionError("a secret")]

    assert await bench.clean() == ["retry"]

    assert bench.given()["error"].code == "internal_error"
    assert "a secret" not in bench.given()["error"].message


async def test_a_result_that_came_too_late_is_dropped(bench: Bench) -> None:
    bench.claims.ours = False

    assert await bench.clean() == ["finish"]
    assert bench.observer.results == []


async def test_a_failure_that_came_too_late_is_not_counted(bench: Bench) -> None:
    bench.claims.ours = False
    bench.executor.errors["clean"] = [REFUSED]

    assert await bench.clean() == ["fail"]
    assert bench.observer.failures == []


async def test_a_cancelled_call_writes_nothing(bench: Bench) -> None:
    gate = Gate()
    bench.executor.working = gate
    cleaning = asyncio.create_task(bench.clean())
    await until(lambda: gate.waiting)

    cleaning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cleaning

    assert bench.claims.asked == []
    assert not list(bench.scratch.root.iterdir())
