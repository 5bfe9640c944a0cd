"""Intake: every record ends as a result to make or as a rejection, and an outage ends as neither."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import ConflictingDuplicate, Outage, Unstorable
from agents.intake import Intake
from agents.ports import NewResult, Rejection
from schemas import rejected_id, result_id
from tests.support.fakes import FakeInbox, FakeObserver
from tests.support.work import CHAINS, SOURCE, TRACEPARENT, raw_event

GOOD: dict[str, Any] = {
    "tenant_id": "acme",
    "call_id": "c-42",
    "recording": {"url": "s3://recordings/acme/c-42.wav"},
    "channels": [{"role": "agent"}, {"role": "customer"}],
    "later_field": "kept out of the way",
}


class Bench:
    """An intake and the fakes around it."""

    def __init__(self) -> None:
        self.inbox = FakeInbox()
        self.observer = FakeObserver()
        self.queued = self.rejected = 0
        self.intake = Intake(
            inbox=self.inbox,
            chains=CHAINS,
            observer=self.observer,
            source=SOURCE,
            on_queued=self._queued,
            on_rejected=self._rejected,
        )

    def _queued(self) -> None:
        self.queued += 1

    def _rejected(self) -> None:
        self.rejected += 1


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_event_becomes_a_result_with_its_chain_decided(bench: Bench) -> None:
    new = await bench.intake.take(raw_event(GOOD, headers=(("traceparent", TRACEPARENT.encode()),)))

    assert isinstance(new, NewResult)
    chain = CHAINS.resolve(tenant="acme", named_roles=True)
    assert chain.channels == "independent"
    assert new.chain == chain
    assert new.result_id == result_id("acme", "c-42", "c-42", chain.digest)
    assert new.traceparent == TRACEPARENT
    assert bench.inbox.results == {new.result_id: new}
    assert (bench.queued, bench.rejected) == (1, 0)


async def test_the_chain_that_an_event_names_is_taken(bench: Bench) -> None:
    new = await bench.intake.take(raw_event({**GOOD, "chain": "loud"}))

    assert isinstance(new, NewResult)
    assert new.chain.name == "loud"


async def test_an_event_that_comes_again_is_the_same_result(bench: Bench) -> None:
    first = await bench.intake.take(raw_event(GOOD))
    again = await bench.intake.take(raw_event(GOOD, offset=1208))

    assert first == again
    assert len(bench.inbox.results) == 1
    assert bench.observer.failures == []


@pytest.mark.parametrize(
    ("value", "code", "field", "call_id"),
    [
        (b"{", "malformed_json", None, None),
        (None, "null_value", None, None),
        ({**GOOD, "recording": {}}, "missing_field", "recording.url", "c-42"),
        ({**GOOD, "chain": "telephoney"}, "unknown_chain", "chain", "c-42"),
        ({**GOOD, "schema_version": 2}, "unknown_schema_version", "schema_version", "c-42"),
    ],
)
async def test_what_cannot_become_a_result_is_kept_and_told(
    bench: Bench, value: Any, code: str, field: str | None, call_id: str | None
) -> None:
    raw = raw_event(value, headers=(("traceparent", TRACEPARENT.encode()), ("x", b"\xff")))

    refused = await bench.intake.take(raw)

    assert isinstance(refused, Rejection)
    assert (refused.error_code, refused.error_field, refused.call_id) == (code, field, call_id)
    assert refused.raw is raw
    ((kept, event),) = bench.inbox.rejections.values()
    assert kept is refused
    told = json.loads(event.value)
    assert event.topic_suffix == "call.rejected"
    assert event.key is None
    assert event.event_id == told["event_id"] == str(refused.rejected_id)
    assert ("traceparent", TRACEPARENT.encode()) in event.headers
    assert (told["topic"], told["partition"], told["offset"]) == ("call.recorded", 3, 1207)
    assert told["timestamp"] == raw.timestamp_ms
    assert (None if told["raw"] is None else b64decode(told["raw"])) == raw.value
    assert told["sha256"] == sha256(raw.value or b"").hexdigest()
    assert told["error"]["code"] == code
    assert (bench.queued, bench.rejected, bench.observer.failures) == (0, 1, [code])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConflictingDuplicate("The recording is known with another source."), "conflicting_duplicate"),
        (Unstorable("The database cannot keep a value of the event."), "unstorable"),
    ],
)
async def test_what_the_inbox_refuses_is_rejected_with_its_identity(
    bench: Bench, error: ConflictingDuplicate | Unstorable, code: str
) -> None:
    bench.inbox.errors["accept"] = [error]

    refused = await bench.intake.take(raw_event(GOOD))

    assert isinstance(refused, Rejection)
    assert (refused.error_code, refused.error_message) == (code, error.message)
    assert (refused.tenant_id, refused.call_id, refused.recording_id) == ("acme", "c-42", "c-42")
    assert bench.observer.failures == [code]


@pytest.mark.parametrize(("step", "value"), [("accept", GOOD), ("reject", b"{")])
async def test_an_outage_leaves_the_event_to_be_taken_again(bench: Bench, step: str, value: Any) -> None:
    bench.inbox.outages(step, count=1)

    with pytest.raises(Outage):
        await bench.intake.take(raw_event(value))
    assert (bench.queued, bench.rejected, bench.observer.failures) == (0, 0, [])

    await bench.intake.take(raw_event(value))
    assert bench.queued + bench.rejected == 1


async def test_a_rejected_event_that_is_read_again_is_counted_once(bench: Bench) -> None:
    for _ in range(3):
        await bench.intake.take(raw_event(b"{"))

    assert len(bench.inbox.rejections) == 1
    assert bench.observer.failures == ["malformed_json"]


async def test_rejections_are_told_apart_by_where_and_when_they_stood(bench: Bench) -> None:
    """The embedded broker's offsets begin again: the same place may hold another event, or the same at another time."""
    raws = [
        raw_event(b"{"),
        raw_event(b"[", offset=1207),
        raw_event(b"{", offset=1208),
        raw_event(b"{", partition=2),
        raw_event(b"{", topic="other.call.recorded"),
        raw_event(b"{", timestamp_ms=None),
    ]
    for raw in raws:
        await bench.intake.take(raw)

    assert set(bench.inbox.rejections) == {
        rejected_id(
            raw.topic, raw.partition, raw.offset, raw.timestamp_ms, sha256(raw.value or b"").hexdigest()
        )
        for raw in raws
    }
    assert len(bench.inbox.rejections) == len(raws)


@given(
    value=st.none()
    | st.binary(max_size=300)
    | st.from_regex(rb'\{"call_id": ?"[^"]{0,9}".{0,60}', fullmatch=True),
    headers=st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=3),
)
async def test_any_bytes_end_as_one_row_or_the_other(
    value: bytes | None, headers: list[tuple[str, bytes]]
) -> None:
    bench = Bench()

    answer = await bench.intake.take(raw_event(value, headers=tuple(headers)))

    assert isinstance(answer, NewResult | Rejection)
    assert len(bench.inbox.results) + len(bench.inbox.rejections) == 1
