"""What the agents need from the world, as protocols; the adapters are in ``app``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from agents.errors import CallError
from dsp import CleanReport, ResolvedChain, Source
from schemas import CallRecorded, OutgoingEvent


@dataclass(frozen=True, kw_only=True)
class RawEvent:
    """One record of ``call.recorded`` as the broker gave it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    headers: Sequence[tuple[str, bytes]]
    value: bytes | None


@dataclass(frozen=True, kw_only=True)
class NewResult:
    """An understood event with the chain that it asks for."""

    result_id: UUID
    event: CallRecorded
    chain: ResolvedChain
    traceparent: str | None


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An event that cannot become a result, its bytes kept."""

    rejected_id: UUID
    raw: RawEvent
    sha256: str
    error_code: str
    error_message: str
    error_field: str | None
    tenant_id: str | None
    call_id: str | None
    recording_id: str | None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A result that this worker holds, until its lease ends."""

    result_id: UUID
    lease_token: int  # the fence: an end is taken only with the newest
    event: CallRecorded
    chain: ResolvedChain
    traceparent: str | None
    attempts: int  # ended attempts of this round, this one not counted
    retry_round: int

    @property
    def attempt(self) -> int:
        """The number of the attempt under way, from 1."""
        return self.attempts + 1


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A recording on the scratch disk."""

    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ObjectRef:
    """An object in the output store; ``sha256`` and ``bytes`` are of what lies there."""

    url: str
    sha256: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class StoredRendition:
    """An output with its place in the store."""

    name: str
    media_type: str
    object: ObjectRef
    sample_rate_hz: int
    channels: int
    frames: int
    duration_s: float
    after: dict[str, Any]


class Inbox(Protocol):
    """Keeps every event: as a result to make, or as a rejected one. Each call is one transaction."""

    async def accept(self, new: NewResult) -> bool:
        """Keep the result once; False if it was there. Raises ConflictingDuplicate, Unstorable, Outage."""

    async def reject(self, rejection: Rejection, event: OutgoingEvent) -> bool:
        """Keep the bytes and the event to send; False if they were there. Raises Outage."""


class Claims(Protocol):
    """The queue. An end (finish, fail, retry, release) answers False if the claim is no longer ours."""

    async def claim(self, *, worker: str, limit: int, lease_s: float) -> list[Claim]:
        """Take up to ``limit`` due results, oldest first. Raises Outage."""

    async def renew(self, claims: Collection[Claim], *, lease_s: float) -> set[int]:
        """Lengthen the leases; answers the tokens of claims that somebody else has taken. Raises Outage."""

    async def finish(
        self, claim: Claim, report: CleanReport, renditions: Sequence[StoredRendition], event: OutgoingEvent
    ) -> bool:
        """Status, statistics, renditions and the event to send, in one transaction. Raises Outage."""

    async def fail(self, claim: Claim, error: CallError, event: OutgoingEvent) -> bool:
        """Give the call up, with the event to send. Raises Outage."""

    async def retry(self, claim: Claim, error: CallError, *, delay_s: float) -> bool:
        """Count the attempt and queue the call again after a delay. Raises Outage."""

    async def release(self, claim: Claim, *, delay_s: float) -> bool:
        """Queue the call again, not counted. Raises Outage."""


class Outbox(Protocol):
    """Events that wait to be sent."""

    async def relay(self, send: Send, *, limit: int) -> int:
        """Send the oldest unsent events and mark what was confirmed; answers how many. Raises Outage."""


Send = Callable[[Sequence[OutgoingEvent]], Awaitable[frozenset[str]]]
"""Sends events and answers the ids that the broker has confirmed. Raises Outage."""


class Fetcher(Protocol):
    """Brings a recording to the scratch disk."""

    async def fetch(self, *, tenant_id: str, url: str, to: Path) -> Fetched:
        """Stream to the file, hashed on the way. Raises CallError, Outage."""


class DspExecutor(Protocol):
    """Runs the chain in another process."""

    async def clean(self, source: Source, chain: ResolvedChain, out_dir: Path) -> CleanReport:
        """Run ``dsp.clean``. Raises CallError, Outage."""


class ObjectStore(Protocol):
    """The output store."""

    async def put(self, key: str, path: Path, *, sha256: str, media_type: str) -> ObjectRef:
        """Store the file whole under the key; what already lies there stays. Raises Outage."""


class Scratch(Protocol):
    """Room on disk for files in work."""

    def folder(self, claim: Claim) -> AbstractContextManager[Path]:
        """A folder of the claim's own, removed at the end. Raises Outage."""

    def has_room(self) -> bool:
        """Whether another call may be claimed. Raises Outage."""


class Observer(Protocol):
    """Counts what happens."""

    def claimed(self, active: int) -> None:
        """The number of calls in work changed."""

    def cleaned(self, claim: Claim, report: CleanReport, seconds: float) -> None:
        """A call was cleaned, ``seconds`` after its claim."""

    def failed(self, code: str) -> None:
        """A call was given up, or an event rejected."""
