"""The main job, event in and event out, on both stacks: every call cleaned, once, whatever becomes of a worker."""

import time

import pytest

from tests.acceptance.outputs import judge_cleaned
from tests.acceptance.stacks import Exemption, RealStack, Stack
from tests.support.observation import Observation
from tests.support.oracle import MustBeCleaned, judge
from tests.support.recordings import Record, TelephoneCall, telephone_calls
from tests.support.worker import Worker, left_running

# A wait that fails does so, with the workers' logs, before the limit for the whole test cuts it short.
pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(240)]

CALLS = 60
HALFWAY = 20  # cleaned; the rest is queued, in work, or still on the topic
LATE = 20  # published when a worker goes
ENDED_WITHIN_S = 60.0
STOPS_WITHIN_S = 30.0
NO_ORPHAN_AFTER_S = 10.0
DRAIN_S = 2.0

CLEANED = "SELECT count(*) FROM results WHERE status = 'cleaned'"
TAKEN_IN = "SELECT count(*) FROM results"
QUEUED = (
    "SELECT count(*) FROM results WHERE status = 'queued' AND worker IS NULL AND lease_expires_at IS NULL"
)


async def test_sixty_calls_are_each_cleaned_once(stack: Stack) -> None:
    """One row and one object of each rendition a call; what the event says of them is so."""
    workers = await start_workers(stack)
    calls = telephone_calls(CALLS, prefix="plain")

    await stack.publish(stack.record(calls))

    seen = await observe_ended(stack, calls)
    assert len(seen.events) == CALLS, "with nothing going wrong, each event is sent once"
    by_call = {event.body["call_id"]: event for event in seen.events}
    findings = [
        finding for call in calls for finding in judge_cleaned(call, by_call[call.call_id], stack.read_object)
    ]
    assert not findings, "\n".join(findings)
    assert all(worker.said("call queued") for worker in workers), "a worker took nothing in"
    assert all(worker.said("call cleaned") for worker in workers), "a worker cleaned nothing"


async def test_kill_9_of_a_worker_halfway_loses_and_doubles_nothing(stack: Stack) -> None:
    """Calls in work and events not yet taken in pass to the other worker, or to the next one."""
    victim, *others = await start_workers(stack)
    calls = telephone_calls(CALLS, prefix="kill", seed=2)
    late = await publish_until_halfway(stack, calls)

    with victim.held():
        await wait_until_in_work(stack, victim)
        started_by_it = victim.descendants()
        victim.kill()
    await stack.publish(late)

    assert left_running(started_by_it, within_s=NO_ORPHAN_AFTER_S) == []
    if not others:
        stack.start_again(victim)
    await observe_ended(stack, calls)


async def test_sigterm_of_a_worker_halfway_loses_and_doubles_nothing(stack: Stack) -> None:
    """It ends in time and in peace, and leaves nothing that somebody has to wait for."""
    victim, *others = await start_workers(stack)
    calls = telephone_calls(CALLS, prefix="term", seed=3)
    late = await publish_until_halfway(stack, calls)

    with victim.held():
        await wait_until_in_work(stack, victim)
        started_by_it = victim.descendants()
        began = time.monotonic()
        victim.process.terminate()
    await stack.publish(late)

    status = victim.process.wait(STOPS_WITHIN_S - (time.monotonic() - began))
    assert status == 0, victim.process.log_tail()
    assert left_running(started_by_it, within_s=1.0) == []
    if others:
        assert await stack.count(in_work(victim)) == 0
    else:
        stack.start_again(victim)
    seen = await observe_ended(stack, calls)
    assert len(seen.events) == CALLS, "only a crash may send an event twice"


async def test_sigterm_releases_calls_that_do_not_end_in_time(real_stack: RealStack) -> None:
    """A worker gives up waiting for its calls; the next one has them at once, with no attempt counted."""
    stuck = real_stack.start_worker({"CLEARCALL_DRAIN_S": str(DRAIN_S)})
    await real_stack.wait_until_shared()
    calls = telephone_calls(3, prefix="stuck", seed=5)
    with stuck.held():
        await real_stack.publish(real_stack.record(calls))
        await real_stack.wait_until_count(TAKEN_IN, len(calls), timeout_s=20)
        await wait_until_in_work(real_stack, stuck)

        assert stuck.terminate(timeout_s=STOPS_WITHIN_S) > DRAIN_S

    assert stuck.process.returncode == 0, stuck.process.log_tail()
    assert await real_stack.count(QUEUED) == len(calls)
    real_stack.start_worker()
    await observe_ended(real_stack, calls)


async def test_faust_starts_a_worker_too(real_stack: RealStack) -> None:
    """``faust -A app worker -l info`` is a worker like any other."""
    worker = real_stack.start_worker(argv=("faust", "-A", "app", "worker", "-l", "info"))
    calls = telephone_calls(1, prefix="faust", seed=4)

    await real_stack.publish(real_stack.record(calls))

    await observe_ended(real_stack, calls)
    worker.terminate(timeout_s=STOPS_WITHIN_S)
    assert worker.process.returncode == 0, worker.process.log_tail()


async def start_workers(stack: Stack) -> list[Worker]:
    """Two workers that share the partitions; one where a second is exempt."""
    count = 1 if Exemption.SECOND_WORKER in stack.exemptions else 2
    workers = [stack.start_worker(wait=False) for _ in range(count)]
    for worker in workers:
        worker.wait_ready()
    await stack.wait_until_shared()
    return workers


async def publish_until_halfway(stack: Stack, calls: list[TelephoneCall]) -> list[Record]:
    """Publish calls and wait until a part is cleaned; gives what is left to publish while a worker goes.

    Where the broker would forget them, none is left, and all have been taken in.
    """
    records = stack.record(calls)
    all_at_once = Exemption.BROKER_RESTART in stack.exemptions
    now, late = (records, []) if all_at_once else (records[:-LATE], records[-LATE:])
    await stack.publish(now)
    await stack.wait_until_count(CLEANED, HALFWAY, timeout_s=ENDED_WITHIN_S)
    if all_at_once:
        await stack.wait_until_count(TAKEN_IN, CALLS, timeout_s=ENDED_WITHIN_S)
    return late


async def wait_until_in_work(stack: Stack, worker: Worker) -> None:
    """Wait until the worker holds calls."""
    await stack.wait_until_count(in_work(worker), 1, timeout_s=10)


def in_work(worker: Worker) -> str:
    """The query that counts the calls which a worker holds."""
    return f"SELECT count(*) FROM results WHERE status = 'processing' AND worker = '{worker.name}'"  # noqa: S608


async def observe_ended(stack: Stack, calls: list[TelephoneCall]) -> Observation:
    """Wait until every call has ended, and see that each was cleaned at its first attempt, once, with nothing over."""
    expected = [MustBeCleaned(identity=call.identity, frames=call.frames) for call in calls]
    await stack.wait_until_ended(expected, timeout_s=ENDED_WITHIN_S)
    seen = await stack.observe()
    findings = judge(expected, seen)
    assert not findings, "\n".join([*findings, stack.log_tails()])
    assert {row.attempts for row in seen.results} == {1}, "a worker that goes costs no call an attempt"
    return seen
