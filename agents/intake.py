"""Intake: from a record of ``call.recorded`` to a row that cannot be lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

import structlog

from agents import events
from agents.errors import ConflictingDuplicate, Unstorable
from agents.ports import Inbox, NewResult, Observer, RawEvent, Rejection
from dsp import ChainFile, UnknownChain
from schemas import Identity, SchemaError, decode, read_traceparent, rejected_id, result_id

log = structlog.get_logger(__name__)


def understand(raw: RawEvent, chains: ChainFile) -> NewResult:
    """Decode, validate and resolve the chain. Raises SchemaError, UnknownChain."""
    event, traceparent = decode(raw.value, raw.headers)
    chain = chains.resolve(
        chain=event.chain,
        tenant=event.tenant_id,
        named_roles=bool(event.channels),
        pauses=events.pauses(event),
    )
    return NewResult(
        result_id=result_id(event.tenant_id, event.call_id, event.recording_id, chain.digest),
        event=event,
        chain=chain,
        traceparent=traceparent,
    )


class Intake:
    """Takes one event: decode, validate, resolve its chain, keep it. Quick, and safe to repeat."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        chains: ChainFile,
        observer: Observer,
        source: str,
        on_queued: Callable[[], None],
        on_rejected: Callable[[], None],
    ) -> None:
        self._inbox = inbox
        self._chains = chains
        self._observer = observer
        self._source = source
        self._on_queued = on_queued
        self._on_rejected = on_rejected

    async def take(self, raw: RawEvent) -> NewResult | Rejection:
        """Keep the event as a result to make, or as a rejected one; only then may it be acked. Raises Outage."""
        try:
            new = understand(raw, self._chains)
            is_new = await self._inbox.accept(new)
        except SchemaError as error:
            return await self._reject(raw, error.code, error.message, error.field, error.identity)
        except UnknownChain as error:
            return await self._reject(raw, "unknown_chain", str(error), "chain", _identity(raw))
        except (ConflictingDuplicate, Unstorable) as error:
            return await self._reject(raw, error.code, error.message, None, _identity(raw))
        log.info(
            "call queued" if is_new else "call known already",
            tenant=new.event.tenant_id,
            call=new.event.call_id,
            recording=new.event.recording_id,
            chain=new.chain.name,
            result=str(new.result_id),
        )
        self._on_queued()
        return new

    async def _reject(
        self, raw: RawEvent, code: str, message: str, field: str | None, identity: Identity | None
    ) -> Rejection:
        digest = sha256(raw.value or b"").hexdigest()
        tenant_id, call_id, recording_id = identity or Identity()
        rejection = Rejection(
            rejected_id=rejected_id(raw.topic, raw.partition, raw.offset, raw.timestamp_ms, digest),
            raw=raw,
            sha256=digest,
            error_code=code,
            error_message=message,
            error_field=field,
            tenant_id=tenant_id,
            call_id=call_id,
            recording_id=recording_id,
        )
        event = events.rejected(
            rejection,
            source=self._source,
            rejected_at=datetime.now(UTC),
            traceparent=read_traceparent(raw.headers),
        )
        if await self._inbox.reject(rejection, event):
            self._observer.failed(code)
        self._on_rejected()
        log.warning(
            "event rejected",
            tenant=tenant_id,
            call=call_id,
            code=code,
            reason=message,
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            rejected=str(rejection.rejected_id),
        )
        return rejection


def _identity(raw: RawEvent) -> Identity:
    # Only for events that decode: the identity of one that does not comes with its SchemaError.
    return decode(raw.value, raw.headers).event.identity
