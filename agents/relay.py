"""Relay: from the outbox to the broker; an event is marked only after the broker has confirmed it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from agents.errors import Outage
from agents.ports import Outbox, Send
from schemas import OutgoingEvent

log = structlog.get_logger(__name__)

_BATCH = 100


class Relay:
    """Sends what the outbox holds, for ever. Several relays share the work."""

    def __init__(self, *, outbox: Outbox, send: Send, poll_s: float = 0.5) -> None:
        self._outbox = outbox
        self._send = send
        self._poll_s = poll_s
        self._wake = asyncio.Event()
        self._relaying: asyncio.Task[int] | None = None

    def wake(self) -> None:
        """Say that the outbox holds something new."""
        self._wake.set()

    async def run(self) -> None:
        """Relay until cancelled; an outage is waited out."""
        while True:
            self._wake.clear()
            # Shielded: what the broker has been given is marked, also if nobody waits any more, and not sent again.
            self._relaying = asyncio.create_task(
                self._outbox.relay(self._send_and_tell, limit=_BATCH), name="relay a batch"
            )
            try:
                sent = await asyncio.shield(self._relaying)
            except Outage as outage:
                log.warning("relay waits", part=outage.part, reason=outage.detail)
                await asyncio.sleep(1.0)
                continue
            if sent < _BATCH:
                await self._pause()

    async def flush(self) -> None:
        """Send what is there, once: the last act of a worker that stops. An outage is left to the others."""
        try:
            if self._relaying is not None and not self._relaying.done():
                await self._relaying
            while await self._outbox.relay(self._send_and_tell, limit=_BATCH) == _BATCH:
                pass
        except Outage as outage:
            log.warning("events left for the next relay", part=outage.part, reason=outage.detail)

    async def _send_and_tell(self, events: Sequence[OutgoingEvent]) -> frozenset[str]:
        confirmed = await self._send(events)
        for event in events:
            if event.event_id in confirmed:
                # The key names tenant and call; a rejected event may have neither.
                tenant, _, call = (event.key or b"").decode("ascii").partition("/")
                log.info(
                    "event sent",
                    topic=event.topic_suffix,
                    event_id=event.event_id,
                    tenant=tenant or None,
                    call=call or None,
                )
        return confirmed

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self._poll_s)
