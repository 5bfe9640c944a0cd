"""A whole Clearcall to test: its parts, its workers, and what a test does with it, alike on both kinds of stack.

``RealStack``: Apache Kafka, Postgres and MinIO, with as many workers as a test likes.
``EmbeddedStack``: ``clearcall up`` as a plain process, seen from outside through the settings file that it writes.
Every stack is a test's own: its topics, group, database and buckets hold nothing else.
"""

import asyncio
import io
import shlex
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from aiokafka import AIOKafkaProducer

from tests.support.blocking import run_blocking
from tests.support.kafka import MEBIBYTE, Kafka
from tests.support.observation import Observation, events_marked_sent, observe, read_object, s3_client
from tests.support.oracle import Expectation, MustBeRejected
from tests.support.recordings import Record, TelephoneCall
from tests.support.worker import Up, Worker

MAX_EVENT_BYTES = 4 * MEBIBYTE
"""What the real stack's ``call.recorded`` takes."""

_LOOK_EVERY_S = 0.1
_CONFIRMED_WITHIN_S = 30.0


class Exemption(Enum):
    """What an embedded stack is not asked for, and why: the one place that says so."""

    SECOND_WORKER = "its broker serves one member of a group: a second worker would stand idle"
    BROKER_RESTART = "its broker keeps nothing when it stops: what nobody has taken in by then is gone"


class Stack(ABC):
    """One Clearcall of the test's own, with no worker yet."""

    exemptions: frozenset[Exemption] = frozenset()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.workers: list[Worker] = []

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, str]:
        """The ``CLEARCALL_*`` settings of its workers."""

    @property
    @abstractmethod
    def source_bucket(self) -> str:
        """Where recordings lie."""

    @abstractmethod
    def start_worker(
        self, more: Mapping[str, str] | None = None, *, wait: bool = True, argv: Sequence[str] = ()
    ) -> Worker:
        """Start a worker with these settings besides, ``argv`` in place of ``clearcall worker``; see ``Worker``."""

    def start_again(self, worker: Worker) -> None:
        """Start a worker that has ended once more."""
        worker.start()

    @abstractmethod
    async def wait_until_shared(self, *, timeout_s: float = 30.0) -> None:
        """Wait until every worker has partitions of ``call.recorded`` of its own."""

    def put_recording(self, name: str, content: bytes) -> str:
        """Store a recording and give its address."""
        s3_client(self.settings).put_object(self.source_bucket, name, io.BytesIO(content), len(content))
        return f"s3://{self.source_bucket}/{name}"

    def record(self, calls: Sequence[TelephoneCall]) -> list[Record]:
        """Store the calls' recordings and give their events, to be published."""
        return [call.recorded(self.put_recording(f"{call.call_id}.wav", call.wav())) for call in calls]

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return f"{self.settings.get('CLEARCALL_TOPIC_PREFIX', '')}{name}"

    async def publish(self, records: Sequence[Record | bytes | None]) -> None:
        """Send to ``call.recorded``, in this order, and wait until the broker has confirmed all."""
        if not records:
            return
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings["CLEARCALL_KAFKA_BOOTSTRAP"],
            acks="all",
            max_request_size=2 * MAX_EVENT_BYTES,
        )
        topic = self.topic("call.recorded")
        async with asyncio.timeout(_CONFIRMED_WITHIN_S):
            try:
                await producer.start()
                for record in map(_as_record, records):
                    await producer.send(topic, record.value, key=record.key, headers=list(record.headers))
                await producer.flush()
            finally:
                await producer.stop()

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """The rows that a query on the stack's database answers."""
        connection = await asyncpg.connect(self.settings["CLEARCALL_POSTGRES_DSN"], timeout=10)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close(timeout=5)

    async def count(self, query: str) -> int:
        """The number that a query answers."""
        ((found,),) = await self.fetch(query)
        return int(found)

    async def wait_until_ended(self, expected: Sequence[Expectation], *, timeout_s: float) -> None:
        """Wait until all that is expected has come to an end, good or bad, and every event has been sent.

        Raises ``AssertionError`` that says what is missing, with the end of each worker's log.
        """

        async def missing() -> str:
            return await self._unended(expected)

        await self.wait_until(missing, timeout_s=timeout_s)

    async def wait_until_count(self, query: str, least: int, *, timeout_s: float) -> None:
        """Wait until a query that answers one number answers at least this one; else as above."""

        async def missing() -> str:
            found = await self.count(query)
            return "" if found >= least else f"{found}, not {least}, is what {query!r} answers"

        await self.wait_until(missing, timeout_s=timeout_s)

    async def wait_until(self, missing: Callable[[], Awaitable[str]], *, timeout_s: float) -> None:
        """Wait until ``missing`` answers nothing; a database that is away is waited for too. Else as above."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                what = await missing()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                what = f"the database does not answer: {error!r}"
            if not what:
                return
            assert time.monotonic() < deadline, f"After {timeout_s:g} s: {what}.\n{self.log_tails()}"
            await asyncio.sleep(_LOOK_EVERY_S)

    def read_object(self, url: str) -> bytes:
        """The bytes of an object by its ``s3://`` address."""
        address = urlsplit(url)
        return read_object(s3_client(self.settings), address.netloc, address.path.lstrip("/"))

    async def observe(self) -> Observation:
        """Everything that the run has left behind, for ``tests.support.oracle.judge``."""
        return await observe(self.settings)

    def log_tails(self, lines: int = 40) -> str:
        """The end of each worker's log, for messages."""
        return "\n".join(worker.process.log_tail(lines) for worker in self.workers)

    def close(self) -> None:
        """Stop every worker, all at once."""
        for worker in self.workers:
            if worker.process.running:
                worker.process.terminate()
        for worker in self.workers:
            worker.stop()

    async def _unended(self, expected: Sequence[Expectation]) -> str:
        """What has not come to an end yet, in words."""
        rows = await self.fetch("SELECT tenant_id, call_id, recording_id, status FROM results")
        ended = Counter(tuple(row)[:3] for row in rows if row["status"] not in ("queued", "processing"))
        calls = [one for one in expected if not isinstance(one, MustBeRejected)]
        unended = [one for one in calls if ended[one.identity] < getattr(one, "chains", 1)]
        rejected = await self.count("SELECT count(*) FROM rejected_events")
        to_reject = len(expected) - len(calls)
        unsent = await self.count("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
        told = {
            f"{len(unended)} of {len(calls)} calls have not ended, {unended[:1]} for one": bool(unended),
            f"{rejected} of {to_reject} events are rejected": rejected < to_reject,
            f"{unsent} events of the outbox are not sent": unsent > 0,
        }
        by_status = dict(Counter(row["status"] for row in rows))
        missing = [what for what, is_so in told.items() if is_so]
        return f"{'; '.join(missing)} (results: {by_status})" if missing else ""


class RealStack(Stack):
    """On Apache Kafka, Postgres and MinIO; ``call.recorded`` is there before any worker is."""

    def __init__(
        self, kafka: Kafka, settings: Mapping[str, str], *, source_bucket: str, folder: Path
    ) -> None:
        super().__init__(folder)
        self._kafka = kafka
        self._settings = settings
        self._source_bucket = source_bucket
        recorded = self.topic("call.recorded")
        run_blocking(kafka.create_topic(recorded, partitions=4, max_message_bytes=MAX_EVENT_BYTES))

    @property
    def settings(self) -> Mapping[str, str]:
        return self._settings

    @property
    def source_bucket(self) -> str:
        return self._source_bucket

    def start_worker(
        self, more: Mapping[str, str] | None = None, *, wait: bool = True, argv: Sequence[str] = ()
    ) -> Worker:
        worker = Worker({**self._settings, **(more or {})}, self._folder, argv=argv)
        self.workers.append(worker)
        worker.start(wait=wait)
        return worker

    async def wait_until_shared(self, *, timeout_s: float = 30.0) -> None:
        running = sum(worker.process.running for worker in self.workers)

        async def missing() -> str:
            shares = await self._kafka.partitions_by_member(self.settings["CLEARCALL_GROUP_ID"])
            is_so = len(shares) == running and all(shares.values())
            return "" if is_so else f"the group's members have {list(shares.values())} partitions"

        await self.wait_until(missing, timeout_s=timeout_s)


class EmbeddedStack(Stack):
    """``clearcall up``: its one worker comes with the parts, so it has no settings before it has been started.

    Once it has been started again, what was sent is what its database has as sent: its broker has forgotten.
    """

    exemptions = frozenset(Exemption)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._up: Up | None = None
        self._broker_has_forgotten = False

    @property
    def settings(self) -> Mapping[str, str]:
        assert self._up is not None, "an embedded stack has no settings before its worker has been started"
        lines = self._up.env_file.read_text().splitlines()
        return dict(shlex.split(line)[0].split("=", 1) for line in lines)

    @property
    def source_bucket(self) -> str:
        return self.settings["CLEARCALL_SOURCE_S3_BUCKET"]

    def start_worker(
        self, more: Mapping[str, str] | None = None, *, wait: bool = True, argv: Sequence[str] = ()
    ) -> Worker:
        assert self._up is None, f"exempt: {Exemption.SECOND_WORKER.value}"
        assert not argv, "clearcall up starts the worker itself"
        self._up = Up({"CLEARCALL_WORKERS": "1", **(more or {})}, self._folder)
        self.workers.append(self._up)
        self._up.start(wait=wait)
        return self._up

    def start_again(self, worker: Worker) -> None:
        self._broker_has_forgotten = True
        super().start_again(worker)

    async def wait_until_shared(self, *, timeout_s: float = 30.0) -> None:
        """Its one worker has them all, as soon as it consumes; until then events wait for it on the topic."""

    async def observe(self) -> Observation:
        seen = await super().observe()
        if self._broker_has_forgotten:
            seen = replace(seen, events=await events_marked_sent(self.settings))
        return seen


def _as_record(record: Record | bytes | None) -> Record:
    return record if isinstance(record, Record) else Record(value=record)
