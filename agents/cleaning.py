"""Cleaning: from a claimed result to its outputs, statistics and event, or to a reason why not."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog
from structlog.contextvars import bound_contextvars

from agents import events
from agents.errors import CallError, Outage
from agents.ports import (
    Claim,
    Claims,
    DspExecutor,
    Fetched,
    Fetcher,
    ObjectStore,
    Observer,
    Scratch,
    StoredRendition,
)
from dsp import CleanReport

log = structlog.get_logger(__name__)
T = TypeVar("T")

MEDIA_TYPES = {
    "flac": "audio/flac",
    "m4a": "audio/mp4",
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "wav": "audio/wav",
}
"""Of the formats that a rendition may have."""

_WAIT_FIRST_S, _WAIT_MOST_S = 0.25, 2.0
_RELEASE_WITHIN_S = 3.0


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often, and when, a call is tried again.

    Args:
        max_attempts: attempts of one round, from 1.
        min_s: longest wait after the first attempt, in seconds; doubled after each further one.
        max_s: longest wait of all, in seconds.
        patience_s: how long a claim is held while one of our own parts is away, in seconds.
    """

    max_attempts: int = 5
    min_s: float = 2.0
    max_s: float = 600.0
    patience_s: float = 60.0

    def is_last(self, claim: Claim) -> bool:
        """Whether no further attempt would follow this one."""
        return claim.attempt >= self.max_attempts

    def delay_s(self, attempt: int) -> float:
        """Wait before the attempt after this one: full jitter over a doubling span."""
        span = min(self.max_s, self.min_s * 2.0 ** (attempt - 1))
        return random.uniform(0.0, span)  # noqa: S311  (spreads load; nothing to guess)


class Cleaner:
    """Cleans one claimed call, top to bottom: fetch, run the chain, store, finish."""

    def __init__(
        self,
        *,
        claims: Claims,
        fetcher: Fetcher,
        executor: DspExecutor,
        store: ObjectStore,
        scratch: Scratch,
        observer: Observer,
        retry: RetryPolicy,
        source: str,
    ) -> None:
        self._claims = claims
        self._fetcher = fetcher
        self._executor = executor
        self._store = store
        self._scratch = scratch
        self._observer = observer
        self._retry = retry
        self._source = source

    async def clean(self, claim: Claim) -> None:
        """Bring the call to an end, or back into the queue. Raises nothing but CancelledError."""
        event = claim.event
        with bound_contextvars(
            tenant=event.tenant_id, call=event.call_id, recording=event.recording_id, attempt=claim.attempt
        ):
            try:
                await self._attempt(claim)
            except CallError as error:
                await self._give_up_or_retry(claim, error)
            except Outage as outage:
                log.warning("call released: no attempt counted", part=outage.part, reason=outage.detail)
                await self.release(claim, delay_s=self._retry.delay_s(1))
            except Exception:
                # A fault of ours; the call must not spin through it for ever, nor be lost.
                log.exception("cleaning failed inside Clearcall")
                await self._give_up_or_retry(
                    claim,
                    CallError(
                        "internal_error",
                        "Clearcall itself failed on this call; the worker's log has the details. Please report it.",
                        retriable=True,
                    ),
                )

    async def release(self, claim: Claim, *, delay_s: float = 0.0) -> None:
        """Put the claim back, uncounted; where even that cannot be written, its lease ends by itself."""
        try:
            await self._claims.release(claim, delay_s=delay_s)
        except Outage as outage:
            log.warning("release left to the lease", part=outage.part, reason=outage.detail)
        except Exception:
            log.exception("release left to the lease")

    async def _attempt(self, claim: Claim) -> None:
        started = time.monotonic()
        with self._scratch.folder(claim) as folder:
            fetched = await self._fetch(claim, folder / "source")
            source = events.source_of(claim.event, fetched.path)
            # Patiently: what has no room on the scratch disk now is told before any work, and has it in a moment.
            report = await self._patiently(lambda: self._executor.clean(source, claim.chain, folder / "out"))
            renditions = await self._put(claim, report, folder / "out")
        event = events.cleaned(claim, report, renditions, source=self._source, cleaned_at=datetime.now(UTC))
        ours = await self._patiently(lambda: self._claims.finish(claim, report, renditions, event))
        seconds = time.monotonic() - started
        if ours:
            self._observer.cleaned(claim, report, seconds)
            log.info("call cleaned", seconds=round(seconds, 3), chain=claim.chain.name)
        else:
            log.warning("result dropped: another worker has taken the call over")

    async def _fetch(self, claim: Claim, to: Path) -> Fetched:
        recording = claim.event.recording
        fetched = await self._patiently(
            lambda: self._fetcher.fetch(tenant_id=claim.event.tenant_id, url=recording.url, to=to)
        )
        if recording.bytes is not None and recording.bytes != fetched.bytes:
            raise CallError(
                "checksum_mismatch",
                f"The event says that the recording has {recording.bytes} bytes, but {fetched.bytes} were "
                "fetched: the file was changed or cut. Publish the event again with the right size.",
                retriable=False,
            )
        if recording.sha256 is not None and recording.sha256 != fetched.sha256:
            raise CallError(
                "checksum_mismatch",
                f"The event says SHA-256 {recording.sha256}, but the fetched recording has {fetched.sha256}: "
                "the file was changed or cut. Publish the event again with the right checksum.",
                retriable=False,
            )
        return fetched

    async def _put(self, claim: Claim, report: CleanReport, out_dir: Path) -> list[StoredRendition]:
        event = claim.event
        prefix = f"{event.tenant_id}/{event.call_id}/{event.recording_id}/{claim.chain.digest}"
        stored = []
        for rendition in report.renditions:
            name = Path(rendition.path).name
            media_type = MEDIA_TYPES[rendition.format]
            put = partial(
                self._store.put,
                f"{prefix}/{name}",
                out_dir / name,
                sha256=rendition.sha256,
                media_type=media_type,
            )
            stored.append(
                StoredRendition(
                    name=rendition.name,
                    media_type=media_type,
                    object=await self._patiently(put),
                    sample_rate_hz=rendition.sample_rate_hz,
                    channels=rendition.channels,
                    frames=rendition.frames,
                    duration_s=rendition.frames / rendition.sample_rate_hz,
                    after=rendition.to_json()["after"],
                )
            )
        return stored

    async def _give_up_or_retry(self, claim: Claim, error: CallError) -> None:
        try:
            if error.retriable and not self._retry.is_last(claim):
                delay_s = self._retry.delay_s(claim.attempt)
                log.warning(
                    "attempt failed", code=error.code, reason=error.message, retry_in_s=round(delay_s, 1)
                )
                await self._patiently(lambda: self._claims.retry(claim, error, delay_s=delay_s))
                return
            event = events.failed(claim, error, source=self._source, failed_at=datetime.now(UTC))
            if await self._patiently(lambda: self._claims.fail(claim, error, event)):
                self._observer.failed(error.code)
                log.error("call failed", code=error.code, reason=error.message)
        except Outage as outage:
            # The lease ends by itself and the call is tried again: an attempt too many, never one too few.
            log.warning("outcome not written", part=outage.part, reason=outage.detail, code=error.code)
        except Exception:
            log.exception("outcome not written", code=error.code)

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Hold the claim while one of our own parts is away: what was computed is worth waiting for."""
        give_up_at = time.monotonic() + self._retry.patience_s
        wait_s = _WAIT_FIRST_S
        while True:
            try:
                return await step()
            except Outage as outage:
                if time.monotonic() + wait_s > give_up_at:
                    raise
                log.info("call waits", part=outage.part, reason=outage.detail)
                await asyncio.sleep(wait_s)
                wait_s = min(_WAIT_MOST_S, wait_s * 2)


class _InWork(NamedTuple):
    claim: Claim
    task: asyncio.Task[None]


class CleaningAgent:
    """Claims due calls and cleans them side by side, up to ``slots`` at once, renewing their leases."""

    def __init__(  # noqa: PLR0913  (its parts, and four settings)
        self,
        *,
        cleaner: Cleaner,
        claims: Claims,
        scratch: Scratch,
        observer: Observer,
        worker: str,
        slots: int,
        lease_s: float,
        on_ended: Callable[[], None],
        poll_s: float = 0.5,
    ) -> None:
        self._cleaner = cleaner
        self._claims = claims
        self._scratch = scratch
        self._observer = observer
        self._worker = worker
        self._slots = slots
        self._lease_s = lease_s
        self._on_ended = on_ended
        self._poll_s = poll_s
        self._active: dict[int, _InWork] = {}  # by lease token
        self._wake = asyncio.Event()
        self._claiming: asyncio.Task[bool] | None = None

    def wake(self) -> None:
        """Say that the queue holds something new."""
        self._wake.set()

    async def run(self) -> None:
        """Claim and clean until cancelled; calls in work go on: see ``drain``."""
        renewing = asyncio.create_task(self._renew_for_ever(), name="renew leases")
        try:
            while True:
                self._wake.clear()
                # Shielded: what a claim under way takes must be known to ``drain``, not left to its lease.
                self._claiming = asyncio.create_task(self._claim_free_slots(), name="claim")
                if not await asyncio.shield(self._claiming):
                    await self._pause()
        finally:
            renewing.cancel()

    async def drain(self, *, grace_s: float) -> None:
        """Let calls in work end for up to ``grace_s`` seconds, then release the rest, uncounted."""
        renewing = asyncio.create_task(self._renew_for_ever(), name="renew leases while draining")
        give_up_at = time.monotonic() + grace_s
        try:
            if self._claiming is not None:
                await asyncio.wait([self._claiming], timeout=grace_s)
                self._claiming.cancel()
            if self._active:
                log.info("draining", calls=len(self._active), grace_s=grace_s)
                left_s = max(0.0, give_up_at - time.monotonic())
                await asyncio.wait([work.task for work in self._active.values()], timeout=left_s)
            left = list(self._active.values())
            for work in left:
                work.task.cancel()
            await asyncio.gather(*(work.task for work in left), return_exceptions=True)
            async with asyncio.timeout(_RELEASE_WITHIN_S):
                await asyncio.gather(*(self._cleaner.release(work.claim) for work in left))
        except TimeoutError:
            log.warning("releases left to the leases")
        finally:
            renewing.cancel()

    async def _claim_free_slots(self) -> bool:
        """Fill the free slots; False where there is nothing to do but wait."""
        free = self._slots - len(self._active)
        if free <= 0:
            return False
        try:
            if not self._scratch.has_room():
                return False
            claimed = await self._claims.claim(worker=self._worker, limit=free, lease_s=self._lease_s)
        except Outage as outage:
            log.warning("claiming waits", part=outage.part, reason=outage.detail)
            await asyncio.sleep(1.0)
            return True
        for claim in claimed:
            task = asyncio.create_task(self._cleaner.clean(claim), name=f"clean {claim.result_id}")
            self._active[claim.lease_token] = _InWork(claim, task)
            task.add_done_callback(partial(self._ended, claim.lease_token))
        self._observer.claimed(len(self._active))
        return len(claimed) == free

    def _ended(self, lease_token: int, _task: asyncio.Task[None]) -> None:
        del self._active[lease_token]
        self._observer.claimed(len(self._active))
        self._on_ended()
        self._wake.set()

    async def _renew_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 4)
            held = [work.claim for work in self._active.values()]
            if not held:
                continue
            try:
                lost = await self._claims.renew(held, lease_s=self._lease_s)
            except Outage as outage:
                # Nobody else can claim either while the database is away; the fence decides afterwards.
                log.warning("leases not renewed", part=outage.part, reason=outage.detail)
                continue
            except Exception:
                # Renewing must not end in silence: every call in work would be done twice.
                log.exception("leases not renewed")
                continue
            for work in [self._active[token] for token in lost if token in self._active]:
                event = work.claim.event
                log.warning("claim lost to another worker", tenant=event.tenant_id, call=event.call_id)
                work.task.cancel()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._poll_s)
