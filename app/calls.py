"""What can be asked about calls, and the shapes of the answers.

The pages, the REST interface and the command line all speak of calls in these words. What may go wrong::

    LookupFailed
    ├── CallNotFound        nothing is known of that call
    ├── AmbiguousTenant     several tenants have a call of that id
    └── InvalidCursor       a place in the list that this service did not hand out
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple, Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agents.status import CallStatus
from schemas import (
    IDENTIFIER_PATTERN,
    ChainRef,
    CleanedChannel,
    Original,
    Rendition,
    Statistics,
)

MAX_PAGE_CALLS = 500
DEFAULT_PAGE_CALLS = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]


class LookupFailed(Exception):
    """A question about calls that has no answer."""


class CallNotFound(LookupFailed):
    """Nothing is known of that call."""

    def __init__(self, call_id: str, tenant_id: str | None = None) -> None:
        whose = f" of tenant {tenant_id!r}" if tenant_id else ""
        super().__init__(
            f"No call {call_id!r}{whose} is known. Its event may not have arrived, or its id may be written otherwise."
        )


class AmbiguousTenant(LookupFailed):
    """Several tenants have a call of that id; ``tenants`` are those to choose from."""

    def __init__(self, call_id: str, tenants: tuple[str, ...]) -> None:
        super().__init__(f"Call {call_id!r} exists for {len(tenants)} tenants: say which with ?tenant=.")
        self.tenants = tenants


class InvalidCursor(LookupFailed):
    """A cursor that this service did not hand out."""

    def __init__(self) -> None:
        super().__init__("The cursor is not one that was handed out: start again without it.")


class Cursor(NamedTuple):
    """A place in the list: that of the last row seen."""

    received_at: datetime
    row_id: UUID

    def encode(self) -> str:
        """Text for an address; nobody should read anything into it."""
        received_us = (self.received_at - _EPOCH) // _MICROSECOND
        return base64.urlsafe_b64encode(
            received_us.to_bytes(8, "big", signed=True) + self.row_id.bytes
        ).decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read what ``encode`` wrote; raises InvalidCursor."""
        try:
            packed = base64.b64decode(text, altchars=b"-_", validate=True)
            received_at = _EPOCH + int.from_bytes(packed[:8], "big", signed=True) * _MICROSECOND
            return cls(received_at, UUID(bytes=packed[8:]))
        except (binascii.Error, ValueError, OverflowError):
            raise InvalidCursor from None


@dataclass(frozen=True, kw_only=True)
class CallFilter:
    """Which rows of the list are wanted; None asks for nothing in particular.

    ``call_id_prefix`` is the beginning of the call's id, ``tenant_id`` the whole id of a tenant. Rows were received
    at ``since`` or later and before ``until``.
    """

    status: CallStatus | None = None
    call_id_prefix: str | None = None
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = DEFAULT_PAGE_CALLS
    cursor: Cursor | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_PAGE_CALLS:
            raise ValueError(f"limit must be from 1 to {MAX_PAGE_CALLS}, got {self.limit}")


class Answer(BaseModel):
    """A part of an answer; more keys may be added at any time."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class CallFault(Answer):
    """Why a call was not cleaned, or not yet."""

    code: str
    """For programs, as in `checksum_mismatch`."""
    message: str
    """For people: what happened and what to do."""
    retriable: bool
    """Whether another attempt may help."""
    field: str | None = None
    """Path of the field at fault in a rejected event."""


class EventOrigin(Answer):
    """Where a rejected event lay in the broker."""

    topic: str
    """The topic."""
    partition: int
    """The partition."""
    offset: int
    """Its place in the partition."""


class CallState(Answer):
    """A result, or a rejected event, as far as both have the same."""

    tenant_id: str | None
    """Whose call it is; null: the event was rejected and it could not be read."""
    call_id: str | None
    """The call; null: the event was rejected and it could not be read."""
    recording_id: str | None
    """The recording among the call's recordings; null as above."""
    status: CallStatus
    """Where it is."""
    attempts: int
    """Attempts of this round that ended with a result or an error."""
    queued_at: datetime
    """When the event was received."""
    started_at: datetime | None
    """When the newest attempt began; null: none did."""
    finished_at: datetime | None
    """When the call was cleaned, given up, erased, or its event rejected; null: not yet."""
    next_attempt_at: datetime | None = None
    """When the next attempt is due; null: none is waited for."""
    error: CallFault | None
    """What went wrong, also while another attempt is due; null: nothing."""
    chain: ChainRef | None
    """How it is cleaned; null: the event was rejected."""
    result_id: UUID | None
    """Names recording and chain; null: the event was rejected."""
    rejected_id: UUID | None = None
    """Names the rejected event (`clearcall rejected show`); null: it was not."""
    origin: EventOrigin | None = None
    """Where the rejected event lay; null: it was not rejected."""

    @property
    def row_id(self) -> UUID:
        """The id of the result or of the rejected event."""
        row_id = self.result_id or self.rejected_id
        if row_id is None:
            raise ValueError("a state is that of a result or of a rejected event")
        return row_id


class CallSummary(CallState):
    """A row of the status table."""

    duration_s: float | None = None
    """Length of the recording in seconds; null: not known yet."""
    before_lufs: float | None = None
    """Programme loudness of the recording in LUFS."""
    after_lufs: float | None = None
    """Programme loudness of the first rendition in LUFS."""
    before_noise_floor_dbfs: float | None = None
    """Noise floor of the recording's noisiest channel in dBFS."""
    after_noise_floor_dbfs: float | None = None
    """Noise floor of the first rendition's noisiest channel in dBFS."""


class CallPage(Answer):
    """A part of the list, newest first."""

    calls: tuple[CallSummary, ...]
    """The rows."""
    next_cursor: str | None
    """Asks for the rows after these; null: there are none."""


class CallDetail(CallState):
    """All that is known of a call's result, or of its rejected event."""

    renditions: tuple[Rendition, ...] = ()
    """The cleaned files; empty: there are none (yet)."""
    statistics: Statistics | None = None
    """What was measured on the recording as it came; null: not measured (yet)."""
    original: Original | None = None
    """The recording as it came; null: the event was rejected."""
    duration_s: float | None = None
    """Length of the recording in seconds; null: not known yet."""
    recorded_at: datetime | None = None
    """When the recording began, as the event said; null: it did not."""
    channels: tuple[CleanedChannel, ...] = ()
    """Who is heard in each channel, as the event said."""
    direction: str | None = None
    """Who called whom."""
    agent_id: str | None = None
    """The agent."""
    queue: str | None = None
    """The queue or skill that the call came through."""
    worker: str | None = None
    """Who is at work on it; null: nobody."""
    metadata: dict[str, str] = Field(default_factory=dict)
    """Text pairs of the publisher's own."""


class CallHistoryEntry(CallSummary):
    """A result or a rejected event among all of a call."""

    kind: Literal["result", "rejected_event"]
    """Which of the two."""
    retry_round: int = 0
    """How often somebody asked for another round after a failure."""
    event_count: int = 1
    """Accepted events that named this recording, repeats included."""
    replayed_at: datetime | None = None
    """When a rejected event's bytes were accepted after all; null: they were not."""


class QueueHealth(NamedTuple):
    """How much waits, and how long."""

    depth: dict[str, int]  # of the statuses queued and processing
    oldest_seconds: float  # how long the oldest queued result has waited; 0 where nothing is queued
    outbox_unsent: int  # events that the broker has not confirmed yet


class Calls(Protocol):
    """Answers questions about calls. Every method raises ``agents.errors.Outage`` where the store is away."""

    async def list_calls(self, wanted: CallFilter) -> CallPage:
        """The rows that pass the filter, newest first."""

    async def get_call(
        self, call_id: str, tenant_id: str | None = None, *, result_id: UUID | None = None
    ) -> CallDetail:
        """The newest result of the call's newest recording, or the one that is named.

        A call that is known from rejected events alone has the status ``rejected``. Raises CallNotFound,
        AmbiguousTenant.
        """

    async def call_history(self, call_id: str, tenant_id: str | None) -> tuple[CallHistoryEntry, ...]:
        """Every result and rejected event of one tenant's call, newest first, up to ``MAX_PAGE_CALLS``."""

    async def counts(self) -> dict[CallStatus, int]:
        """How many rows of the list have each status."""

    async def queue_health(self) -> QueueHealth:
        """How much waits, and how long."""
