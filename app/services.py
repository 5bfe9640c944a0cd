"""Everything that a worker holds open, built from the settings; started before the consumer, stopped after it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import structlog
from mode import Service

import dsp
from agents.cleaning import Cleaner, CleaningAgent, RetryPolicy
from agents.errors import Outage
from agents.intake import Intake
from agents.relay import Relay
from app import kafka
from app.executor import ProcessDspExecutor
from app.fetch import RecordingFetcher
from app.metrics import Metrics
from app.parts import (
    PartHealth,
    check_kafka,
    check_parts,
    check_postgres,
    check_s3,
    http_client,
    output_s3_config,
    source_s3_config,
)
from app.postgres.claims import PostgresClaims
from app.postgres.inbox import PostgresInbox
from app.postgres.outbox import PostgresOutbox
from app.postgres.pool import open_pool, translated
from app.postgres.status import StatusReader
from app.s3 import S3Client, S3Error, S3ObjectStore
from app.scratch import ScratchFolder
from app.settings import Settings
from app.sources import SourcePolicy
from dsp.errors import Problem

log = structlog.get_logger(__name__)

_SAY_EVERY_S = 10.0
_MADE_WITHIN_S = 10.0
_FLUSH_WITHIN_S = 2.0
_CLOSE_WITHIN_S = 1.0


def load_chains(settings: Settings) -> dsp.ChainFile:
    """The chain file of the settings, or the shipped one. Raises ChainFileError with line and nearest right name."""
    path = settings.chain_file
    if path is None:
        return dsp.shipped_chain_file()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise dsp.ChainFileError(str(path), (Problem(1, f"cannot be read: {error}."),)) from error
    return dsp.load_chain_file(text, origin=str(path))


class Services(Service):
    """The worker's resources and loops.

    The web server starts before this service, so that a worker that waits for a part can be asked which.
    """

    # The framework's own words about starting and stopping go where it says the others.
    logger = logging.getLogger("mode.services")

    def __init__(self, settings: Settings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings
        self.metrics = Metrics()
        self.chains = load_chains(settings)
        self.intake: Intake | None = None
        # Nothing of this opens anything: pages ask about the parts, and a start that fails stops this service,
        # before ``on_start``.
        self._http = http_client()
        self._s3 = S3Client(output_s3_config(settings), self._http)
        self._source_s3 = S3Client(source_s3_config(settings), self._http)
        self._sender = kafka.EventSender(settings)
        self._scratch = ScratchFolder(settings.scratch, min_free_bytes=settings.scratch_min_free_bytes)
        self._executor = ProcessDspExecutor(
            processes=settings.workers,
            limits=dsp.Limits(max_duration_s=settings.max_duration_s),
            deadline=settings.deadline,
            memory_bytes=settings.dsp_memory_bytes,
        )
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._status: StatusReader | None = None
        self._agent: CleaningAgent | None = None
        self._relay: Relay | None = None
        self._loops: list[asyncio.Task[None]] = []

    # -- What the web pages ask.

    @property
    def status(self) -> StatusReader | None:
        """The reading side; None until Postgres was there."""
        return self._status

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded stack."""
        return self.settings.embedded

    async def health(self) -> list[PartHealth]:
        """Each part with its state."""
        return await check_parts(self.settings, self._s3, self._source_s3)

    async def exposition(self) -> tuple[bytes, str]:
        """The metrics, the queue's state as the database knows it now included."""
        if self.status is not None:
            with suppress(Outage):
                health = await self.status.queue_health()
                self.metrics.queue(
                    depth=health.depth,
                    oldest_seconds=health.oldest_seconds,
                    outbox_unsent=health.outbox_unsent,
                )
        return self.metrics.exposition()

    # -- Life cycle.

    async def on_start(self) -> None:
        """Wait for every part, then start the processes and loops."""
        settings = self.settings
        while self._pool is None:
            await self._wait_for_parts()
            if self.should_stop:
                return
            with suppress(Outage), translated():  # it was there a moment ago
                self._pool = await open_pool(settings.dsn, size=settings.workers + 6)
        self._scratch.open()
        try:
            await self._executor.open()
        except Outage:
            if not self.should_stop:  # else it was ended while it started
                raise
        if not self.should_stop:
            self._compose(self._pool)
        self._status = StatusReader(self._pool)

    def _compose(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        settings = self.settings
        claims = PostgresClaims(pool)
        cleaner = Cleaner(
            claims=claims,
            fetcher=RecordingFetcher(
                policy=SourcePolicy(settings.sources, output_bucket=settings.s3_bucket),
                s3=self._source_s3,
                http=self._http,
                max_bytes=settings.max_recording_bytes,
                deadline_s=settings.fetch_deadline_s,
            ),
            executor=self._executor,
            store=S3ObjectStore(self._s3, settings.s3_bucket),
            scratch=self._scratch,
            observer=self.metrics,
            retry=RetryPolicy(
                max_attempts=settings.max_attempts, min_s=settings.retry_min_s, max_s=settings.retry_max_s
            ),
            source=settings.event_source,
        )
        self._relay = Relay(outbox=PostgresOutbox(pool), send=self._sender)
        self._agent = CleaningAgent(
            cleaner=cleaner,
            claims=claims,
            scratch=self._scratch,
            observer=self.metrics,
            worker=settings.worker_name,
            # One more than there are processes: the next call is fetched while the others are cleaned.
            slots=settings.workers + 1,
            lease_s=settings.lease_s,
            on_ended=self._relay.wake,
        )
        self.intake = Intake(
            inbox=PostgresInbox(pool),
            chains=self.chains,
            observer=self.metrics,
            source=settings.event_source,
            on_queued=self._agent.wake,
            on_rejected=self._relay.wake,
        )
        self._loops = [
            asyncio.create_task(self._guarded(self._agent.run), name="cleaning"),
            asyncio.create_task(self._guarded(self._relay.run), name="relay"),
        ]

    async def on_stop(self) -> None:
        """Let calls in work end for a while, release the rest, send what is to be sent, close.

        Every step is bounded: with ``drain_s`` they stay below the 30 s that a supervisor may wait, whichever part
        is away.
        """
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._agent is not None:
            await self._agent.drain(grace_s=self.settings.drain_s)
        if self._relay is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_WITHIN_S):
                    await self._relay.flush()
        await self._executor.close()
        self._scratch.close()
        await self._sender.close()
        await self._http.aclose()
        if self._pool is not None:
            try:
                async with asyncio.timeout(_CLOSE_WITHIN_S):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    async def _guarded(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop that must not end: an error that nobody foresaw stops the worker, so that it is started anew."""
        try:
            await loop()
        except Exception as error:
            log.exception("a loop of the worker failed: the worker stops")
            await self.crash(error)

    async def _wait_for_parts(self) -> None:
        """Wait until Kafka, Postgres and S3 are there, saying which is not, where it was sought, and what to do."""
        said_at = float("-inf")
        loop = asyncio.get_running_loop()
        while not self.should_stop:
            missing = [part for part in await self._prepare_parts() if not part.ok]
            if not missing:
                return
            if loop.time() - said_at >= _SAY_EVERY_S:
                said_at = loop.time()
                for part in missing:
                    log.warning(
                        "waiting for a part",
                        part=part.name,
                        address=part.address,
                        reason=part.detail,
                        what_to_do=part.what_to_do,
                    )
            await asyncio.sleep(1.0)

    async def _prepare_parts(self) -> list[PartHealth]:
        """Make what a worker may make (topics, the outputs' bucket), then look at each part."""

        async def tried(making: Awaitable[object]) -> None:
            with suppress(Outage, S3Error, TimeoutError):
                async with asyncio.timeout(_MADE_WITHIN_S):
                    await making

        await asyncio.gather(
            tried(kafka.create_topics(self.settings)), tried(self._s3.ensure_bucket(self.settings.s3_bucket))
        )
        # The recordings' store is not asked: it may let us read objects and yet not show the bucket.
        return list(
            await asyncio.gather(
                check_kafka(self.settings),
                check_postgres(self.settings),
                check_s3(self.settings.s3_bucket, self._s3, purpose="outputs"),
            )
        )

    async def ready(self) -> PartHealth:
        """Whether this worker can serve: Postgres is reachable and its schema at head."""
        return await check_postgres(self.settings)
