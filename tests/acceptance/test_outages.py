"""Parts that are not there yet, or go away: said clearly, waited out, and no call pays for it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from tests.acceptance.programs import run_clearcall
from tests.acceptance.stacks import RealStack
from tests.support.kafka import Kafka
from tests.support.minio import Minio
from tests.support.oracle import MustBeCleaned, judge
from tests.support.postgres import Postgres
from tests.support.recordings import Record, TelephoneCall, telephone_calls
from tests.support.tcp_proxy import TcpProxy
from tests.support.worker import Worker

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

AWAY_S = 20.0
MAX_STOP_S = 30.0
MAX_REBALANCE_S = 30.0
_WITHIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Doors:
    """A proxy before each part, so that a part can be away for one worker alone."""

    kafka: TcpProxy
    postgres: TcpProxy
    s3: TcpProxy
    settings: dict[str, str]


@pytest.fixture
def doors(real_stack: RealStack, kafka: Kafka, postgres: Postgres, minio: Minio) -> Iterator[Doors]:
    """Open doors to every part, and the settings that lead through them."""
    with ExitStack() as stack:
        proxies = [TcpProxy(port) for port in (kafka.port, postgres.port, minio.port)]
        for proxy in proxies:
            proxy.start()
            stack.callback(proxy.stop)
        dsn = real_stack.settings["CLEARCALL_POSTGRES_DSN"]
        yield Doors(
            kafka=proxies[0],
            postgres=proxies[1],
            s3=proxies[2],
            settings={
                # The broker's own address is asked for through it: what follows goes there directly.
                "CLEARCALL_KAFKA_BOOTSTRAP": proxies[0].address,
                "CLEARCALL_POSTGRES_DSN": dsn.replace(f":{postgres.port}/", f":{proxies[1].port}/"),
                "CLEARCALL_S3_ENDPOINT": f"http://{proxies[2].address}",
            },
        )


@pytest.mark.timeout(150)
async def test_parts_that_are_absent_at_start_are_named_and_waited_for(
    real_stack: RealStack, doors: Doors
) -> None:
    calls = telephone_calls(2, prefix="early")
    await real_stack.publish(real_stack.record(calls))
    absent = {"Kafka": doors.kafka, "Postgres": doors.postgres, "S3 (outputs)": doors.s3}
    for door in absent.values():
        door.refuse()
    worker = real_stack.start_worker(doors.settings, wait=False)
    settings = {**real_stack.settings, **doors.settings}
    said, told = await asyncio.gather(
        run_clearcall(settings, "doctor"), run_clearcall(settings, "doctor", "--json")
    )

    assert (said.status, told.status) == (1, 1), said.stderr + told.stderr
    text = " ".join(said.stdout.decode().split())
    parts = {part["name"]: part for part in json.loads(told.stdout)["parts"]}
    for name, door in absent.items():
        assert not parts[name]["ok"]
        assert door.address in parts[name]["address"]
        assert "CLEARCALL_" in parts[name]["what_to_do"]
        assert door.address in text
        assert parts[name]["what_to_do"] in text
    assert parts["Scratch disk"]["ok"]
    for secret in ("CLEARCALL_S3_SECRET_KEY", "CLEARCALL_POSTGRES_DSN"):
        assert settings[secret] not in text + told.stdout.decode()

    await _wait_until_it_says(worker, absent)
    await _check_that_it_lives_and_is_not_ready(worker, absent)
    assert worker.terminate(timeout_s=MAX_STOP_S) < MAX_STOP_S
    assert worker.process.returncode == 0, worker.process.log_tail()

    worker.start(wait=False)
    doors.postgres.forward()
    doors.s3.forward()
    worker.process.wait_for_http(f"{worker.url}/livez", timeout_s=_WITHIN_S)
    await _check_that_it_lives_and_is_not_ready(worker, {"Kafka": doors.kafka})
    assert (await run_clearcall(settings, "doctor")).status == 1
    doors.kafka.forward()
    await asyncio.to_thread(worker.wait_ready)
    expected = [_cleaned(call) for call in calls]
    await real_stack.wait_until_ended(expected, timeout_s=_WITHIN_S)
    assert judge(expected, await real_stack.observe()) == []


@pytest.mark.timeout(240)
async def test_a_part_that_goes_away_under_load_loses_nothing_and_costs_no_attempt(
    real_stack: RealStack, kafka: Kafka, postgres: Postgres, minio: Minio
) -> None:
    """Postgres, S3 and Kafka one after the other; without Kafka, a worker that is told to stop does so too."""
    outages: list[tuple[Callable[[], None], Callable[[], None]]] = [
        (postgres.stop_immediately, postgres.start),
        (minio.stop, minio.start),
        (kafka.stop, kafka.start),
    ]
    calls = telephone_calls(15 * len(outages), prefix="load")
    records = real_stack.record(calls)
    staying, leaving = (real_stack.start_worker(wait=False) for _ in range(2))
    for worker in (staying, leaving):
        await asyncio.to_thread(worker.wait_ready)
    async with _steadfast_sender(real_stack) as send:
        for number, (take_away, bring_back) in enumerate(outages):
            before, during, after = (
                records[first : first + 5] for first in range(number * 15, number * 15 + 15, 5)
            )
            await send(before)
            await asyncio.to_thread(take_away)
            gone_at = time.monotonic()
            await send(during)
            if take_away == kafka.stop:
                assert await asyncio.to_thread(leaving.terminate, timeout_s=MAX_STOP_S) < AWAY_S
                assert leaving.process.returncode == 0, leaving.process.log_tail()
            await asyncio.sleep(AWAY_S - (time.monotonic() - gone_at))
            await asyncio.to_thread(bring_back)
            await send(after)

    expected = [_cleaned(call) for call in calls]
    await real_stack.wait_until_ended(expected, timeout_s=_WITHIN_S)
    assert judge(expected, await real_stack.observe()) == []
    await _check_that_each_took_one_attempt(real_stack, len(calls))
    assert staying.process.running, staying.process.log_tail()


@pytest.mark.timeout(240)
async def test_a_stop_and_a_rebalance_end_while_postgres_is_away_and_every_event_comes_again(
    real_stack: RealStack, doors: Doors, kafka: Kafka
) -> None:
    calls = telephone_calls(32, prefix="moved")
    records = real_stack.record(calls)
    through = {"CLEARCALL_POSTGRES_DSN": doors.settings["CLEARCALL_POSTGRES_DSN"]}
    staying, leaving = (real_stack.start_worker(through, wait=False) for _ in range(2))
    for worker in (staying, leaving):
        await asyncio.to_thread(worker.wait_ready)
    group = _Group(real_stack)
    await group.wait_until_stable(members=2, timeout_s=_WITHIN_S)
    await real_stack.publish(records[:8])
    await real_stack.wait_until_count("SELECT count(*) FROM results", 8, timeout_s=_WITHIN_S)

    # A network that swallows everything is the worst of outages: nobody is told that nobody answers.
    doors.postgres.black_hole()
    await real_stack.publish(records[8:])
    await asyncio.sleep(2)  # for events to be in hand
    assert await asyncio.to_thread(leaving.terminate, timeout_s=MAX_STOP_S) < MAX_STOP_S
    assert leaving.process.returncode == 0, leaving.process.log_tail()
    await group.wait_until_stable(members=1, timeout_s=MAX_REBALANCE_S)

    # One for whom Postgres is there takes a share, and what it has not taken comes back when it leaves.
    doors.postgres.refuse()
    passing = real_stack.start_worker()
    await group.wait_until_stable(members=2, timeout_s=MAX_REBALANCE_S)
    await real_stack.wait_until_count("SELECT count(*) FROM results", 9, timeout_s=_WITHIN_S)
    assert await asyncio.to_thread(passing.terminate, timeout_s=MAX_STOP_S) < MAX_STOP_S
    await group.wait_until_stable(members=1, timeout_s=MAX_REBALANCE_S)
    assert await real_stack.count("SELECT count(*) FROM results") < len(calls)
    assert "event handed back unacked" in staying.process.log_path.read_text()

    doors.postgres.forward()
    expected = [_cleaned(call) for call in calls]
    await real_stack.wait_until_ended(expected, timeout_s=_WITHIN_S)
    assert judge(expected, await real_stack.observe()) == []
    await _check_that_each_took_one_attempt(real_stack, len(calls))
    assert await asyncio.to_thread(staying.terminate, timeout_s=MAX_STOP_S) < MAX_STOP_S
    assert await group.committed() == len(calls)


def _cleaned(call: TelephoneCall) -> MustBeCleaned:
    return MustBeCleaned(identity=call.identity, frames=call.frames)


async def _wait_until_it_says(worker: Worker, absent: dict[str, TcpProxy]) -> None:
    """Wait until the worker's log names each absent part, where it was sought, and what to do."""

    def said() -> bool:
        lines = [
            json.loads(line) for line in worker.process.log_path.read_text().splitlines() if line[:1] == "{"
        ]
        waits = {line["part"]: line for line in lines if line["event"] == "waiting for a part"}
        return waits.keys() >= absent.keys() and all(
            door.address in waits[name]["address"] and waits[name]["reason"] and waits[name]["what_to_do"]
            for name, door in absent.items()
        )

    await asyncio.to_thread(
        worker.process.wait_until, said, timeout_s=_WITHIN_S, what=f"saying that it waits for {[*absent]}"
    )


async def _check_that_it_lives_and_is_not_ready(worker: Worker, absent: dict[str, TcpProxy]) -> None:
    async with httpx.AsyncClient(base_url=worker.url, trust_env=False, timeout=20) as http:
        assert (await http.get("/livez")).status_code == 200
        health = (await http.get("/health")).json()
        for path in ("/readyz", "/", "/api/v1/calls"):
            answer = await http.get(path)
            assert answer.status_code == 503, f"{path}: {answer.text}"
    states = {part["name"]: part for part in health["parts"]}
    assert not health["ok"]
    for name, door in absent.items():
        assert not states[name]["ok"]
        assert door.address in states[name]["address"]
        assert states[name]["what_to_do"]


async def _check_that_each_took_one_attempt(stack: RealStack, calls: int) -> None:
    rows = await stack.fetch(
        "SELECT call_id, attempts, retry_round, error_code FROM results ORDER BY call_id"
    )
    assert [tuple(row)[1:] for row in rows] == [(1, 0, None)] * calls, rows


@asynccontextmanager
async def _steadfast_sender(
    stack: RealStack,
) -> AsyncIterator[Callable[[Sequence[Record]], Awaitable[None]]]:
    """Sends to ``call.recorded`` also while the broker is away; at the end all is confirmed."""
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.settings["CLEARCALL_KAFKA_BOOTSTRAP"],
        enable_idempotence=True,
        request_timeout_ms=int(_WITHIN_S * 1000),
    )
    sent: list[asyncio.Future[object]] = []

    async def send(records: Sequence[Record]) -> None:
        topic = stack.topic("call.recorded")
        sent.extend([await producer.send(topic, record.value, key=record.key) for record in records])

    await producer.start()
    try:
        yield send
        async with asyncio.timeout(_WITHIN_S):
            await asyncio.gather(*sent)
    finally:
        await producer.stop()


class _Group:
    """The consumer group of a stack's workers, as the broker sees it."""

    def __init__(self, stack: RealStack) -> None:
        self._stack = stack
        self._name = stack.settings["CLEARCALL_GROUP_ID"]

    async def wait_until_stable(self, *, members: int, timeout_s: float) -> None:
        """Wait until a rebalance has ended with so many members."""

        async def missing() -> str:
            state, found = await self._seen()
            return (
                "" if (state, found) == ("Stable", members) else f"the group is {state} with {found} members"
            )

        await self._stack.wait_until(missing, timeout_s=timeout_s)

    async def committed(self) -> int:
        """How many events the group has committed, over all partitions."""
        async with self._admin() as admin:
            offsets = await admin.list_consumer_group_offsets(self._name)
        return sum(int(offset.offset) for offset in offsets.values())

    async def _seen(self) -> tuple[str, int]:
        async with self._admin() as admin:
            ((_, _, state, _, _, members, *_),) = (await admin.describe_consumer_groups([self._name]))[
                0
            ].groups
        return state, len(members)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._stack.settings["CLEARCALL_KAFKA_BOOTSTRAP"])
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()
