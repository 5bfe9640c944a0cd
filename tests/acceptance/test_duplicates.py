"""Events that come again: one recording under one chain is one result, however often it is named, and in what form."""

import json
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.stacks import RealStack
from tests.support.oracle import Expectation, MustBeCleaned, MustBeRejected, judge
from tests.support.recordings import Record, TelephoneCall, telephone_calls

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

TIMES = 3
_ENDED_WITHIN_S = 60.0
_KEY = b"duplicates"

CHAINS = """
version: 1
default: quiet
chains:
  quiet:
    stages: [{normalize: {target_lufs: -23.0}}, {limit: {ceiling_dbtp: -1.5}}]
    renditions: {listen: {format: flac}}
  loud:
    stages: [{normalize: {target_lufs: -16.0}}, {limit: {ceiling_dbtp: -1.5}}]
    renditions: {listen: {format: flac}}
"""
# What is left of a result, once it has ended, for good.
_KEPT = """
SELECT r.*, array(SELECT n FROM renditions n WHERE n.result_id = r.result_id ORDER BY n.position)::text AS renditions
FROM results r ORDER BY r.queued_at, r.result_id"""


@pytest.fixture
def two_chains(tmp_path: Path) -> dict[str, str]:
    """Settings that name a chain file with two chains."""
    file = tmp_path / "chains.yaml"
    file.write_text(CHAINS)
    return {"CLEARCALL_CHAIN_FILE": str(file)}


@pytest.mark.timeout(120)
async def test_an_event_that_comes_three_times_gives_one_result_and_is_counted(
    real_stack: RealStack, two_chains: dict[str, str]
) -> None:
    calls = telephone_calls(6, prefix="thrice")
    once = real_stack.record(calls)
    # Each as bare JSON and in both CloudEvents modes, on whichever partition each happens to fall.
    await real_stack.publish([*once, *map(_in_binary_mode, once), *map(_in_structured_mode, once)])
    worker = real_stack.start_worker(two_chains)

    expected = [_cleaned(call) for call in calls]
    await real_stack.wait_until_ended(expected, timeout_s=_ENDED_WITHIN_S)
    counted = f"SELECT count(*) FROM recordings WHERE event_count = {TIMES}"  # noqa: S608
    await real_stack.wait_until_count(counted, len(calls), timeout_s=_ENDED_WITHIN_S)
    assert judge(expected, await real_stack.observe()) == []
    assert [row["attempts"] for row in await real_stack.fetch("SELECT attempts FROM results")] == [1] * len(
        calls
    )

    before = await real_stack.fetch(_KEPT)
    await real_stack.publish(once)  # once more, after the end
    again = f"SELECT count(*) FROM recordings WHERE event_count = {TIMES + 1}"  # noqa: S608
    await real_stack.wait_until_count(again, len(calls), timeout_s=_ENDED_WITHIN_S)
    assert await real_stack.fetch(_KEPT) == before
    seen = await real_stack.observe()
    assert judge(expected, seen) == []
    assert len(seen.events) == len(calls)
    async with httpx.AsyncClient(base_url=worker.url, trust_env=False, timeout=10) as http:
        listed = (await http.get("/api/v1/calls")).json()["calls"]
    assert sorted(call["call_id"] for call in listed) == [call.call_id for call in calls]


@pytest.mark.timeout(120)
async def test_another_source_is_a_conflict_and_another_chain_a_second_result(
    real_stack: RealStack, two_chains: dict[str, str]
) -> None:
    first, second, other = telephone_calls(3, prefix="same", seed=2)
    urls = [real_stack.put_recording(f"{call.call_id}.wav", call.wav()) for call in (first, second, other)]
    sha256 = secrets.token_hex(32)
    # Of two sources for one recording the first holds, here while neither has been cleaned yet.
    conflicts = [_named(first, urls[2]), _named(second, urls[2], recording_sha256=sha256, chain="loud")]
    records = [_named(first, urls[0]), conflicts[0], _named(second, urls[1]), conflicts[1]]
    records += [_named(first, urls[0], chain="loud"), _named(first, urls[0], chain="quiet")]
    await real_stack.publish(records)
    worker = real_stack.start_worker(two_chains)

    expected: list[Expectation] = [_cleaned(first, chains=2), _cleaned(second)]
    expected += [MustBeRejected(value=record.value, code="conflicting_duplicate") for record in conflicts]
    await real_stack.wait_until_ended(expected, timeout_s=_ENDED_WITHIN_S)
    seen = await real_stack.observe()
    assert judge(expected, seen) == []
    by_chain = {
        row["chain_name"]: row for row in await real_stack.fetch(_KEPT) if row["call_id"] == first.call_id
    }
    assert by_chain.keys() == {"quiet", "loud"}  # `quiet`, named, is what the first event got by default
    assert by_chain["loud"]["after_lufs"] == pytest.approx(-16.0, abs=0.3)
    assert by_chain["quiet"]["after_lufs"] == pytest.approx(-23.0, abs=0.3)
    folders = {url.rsplit("/", 1)[0] for url in seen.objects if f"/{first.call_id}/" in url}
    assert {folder.rsplit("/", 1)[1] for folder in folders} == {
        row["chain_digest"] for row in by_chain.values()
    }
    counts = await real_stack.fetch("SELECT call_id, event_count FROM recordings")
    assert {row["call_id"]: row["event_count"] for row in counts} == {first.call_id: 3, second.call_id: 1}

    # The same again, now that the first result is there: it is as it was.
    before = await real_stack.fetch(_KEPT)
    late = _named(first, urls[2])
    await real_stack.publish([late])
    expected.append(MustBeRejected(value=late.value, code="conflicting_duplicate"))
    await real_stack.wait_until_ended(expected, timeout_s=_ENDED_WITHIN_S)
    assert await real_stack.fetch(_KEPT) == before
    assert judge(expected, await real_stack.observe()) == []
    async with httpx.AsyncClient(base_url=worker.url, trust_env=False, timeout=10) as http:
        listed = (await http.get("/api/v1/calls", params={"status": "rejected"})).json()["calls"]
        shown = (await http.get(f"/status/{second.call_id}")).json()
    assert sorted(call["call_id"] for call in listed) == [first.call_id, first.call_id, second.call_id]
    for call in listed:
        assert call["error"]["code"] == "conflicting_duplicate"
        assert urls[2] in call["error"]["message"]
        assert "recording_id" in call["error"]["message"]
    assert (shown["status"], shown["chain"]["name"]) == ("cleaned", "quiet")


def _cleaned(call: TelephoneCall, *, chains: int = 1) -> MustBeCleaned:
    return MustBeCleaned(
        identity=call.identity, frames=call.frames, renditions=frozenset({"listen"}), chains=chains
    )


def _named(
    call: TelephoneCall, url: str, *, recording_sha256: str | None = None, chain: str | None = None
) -> Record:
    event: dict[str, Any] = {"call_id": call.call_id, "recording": {"url": url, "sha256": recording_sha256}}
    # One key: one partition, so that the first of two is the first for the worker too.
    return Record(value=json.dumps({**event, "chain": chain}).encode(), key=_KEY)


def _in_binary_mode(record: Record) -> Record:
    context = {"specversion": "1.0", "id": secrets.token_hex(4), "source": "/pbx", "type": "call.recorded"}
    headers = [(f"ce_{name}", value.encode()) for name, value in context.items()]
    return Record(value=record.value, headers=(*headers, ("content-type", b"application/json")))


def _in_structured_mode(record: Record) -> Record:
    assert record.value is not None
    context = {"specversion": "1.0", "id": secrets.token_hex(4), "source": "/pbx", "type": "call.recorded"}
    value = json.dumps({**context, "data": json.loads(record.value)}).encode()
    return Record(value=value, headers=(("content-type", b"application/cloudevents+json; charset=utf-8"),))
