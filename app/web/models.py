"""The questions and answers of the HTTP interface, besides those about calls themselves (``app.calls``)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agents.status import CallStatus
from app.calls import (
    DEFAULT_PAGE_CALLS,
    MAX_PAGE_CALLS,
    Answer,
    CallFilter,
    Cursor,
    Identifier,
    InvalidCursor,
)

_MAX_QUERY_CHARS = 128
_MAX_CURSOR_CHARS = 64
_TIME = re.compile(r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d.*)?", re.ASCII)
# A '+' that was not escaped in an address arrives as a space.
_LOST_PLUS = re.compile(r"^(.*:\d\d(?:\.\d+)?) (\d\d:?\d\d)$", re.ASCII)


def _time(value: Any) -> Any:
    if isinstance(value, str):
        value = _LOST_PLUS.sub(r"\1+\2", value.strip())
        if not _TIME.fullmatch(value):
            raise PydanticCustomError("time", "must be a time as in 2026-11-20T10:00:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time", "must be a time from year 1 to 9999 in UTC") from None


_Time = Annotated[datetime, BeforeValidator(_time)]


class Query(BaseModel):
    """The parameters of a request; unknown ones are not looked at."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class CallsQuery(Query):
    """Which calls are wanted."""

    status: CallStatus | None = None
    """Only calls of this status."""
    q: Annotated[str, Field(max_length=_MAX_QUERY_CHARS)] | None = None
    """Beginning of the call id; capitals count."""
    tenant: Identifier | None = None
    """A tenant's whole id."""
    since: _Time | None = None
    """Received at this time or later; a time without a zone is UTC."""
    until: _Time | None = None
    """Received before this time."""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE_CALLS)] = DEFAULT_PAGE_CALLS
    """How many calls at most."""
    cursor: Annotated[str, Field(max_length=_MAX_CURSOR_CHARS)] | None = None
    """`next_cursor` of the page before."""

    @field_validator("since", "until")
    @classmethod
    def _times_are_utc(cls, value: datetime | None) -> datetime | None:
        return None if value is None else _in_utc(value)

    @field_validator("q", mode="before")
    @classmethod
    def _without_the_blanks_of_a_paste(cls, value: Any) -> Any:
        return value.strip() or None if isinstance(value, str) else value

    @field_validator("cursor")
    @classmethod
    def _was_handed_out(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                Cursor.decode(value)
        except InvalidCursor as error:
            raise PydanticCustomError(
                "cursor", "is not one that was handed out: start again without it"
            ) from error
        return value

    @model_validator(mode="after")
    def _since_is_before_until(self) -> Self:
        if self.since and self.until and self.since >= self.until:
            raise PydanticCustomError("order", "since must be before until")
        return self

    def filter(self) -> CallFilter:
        """The same for the reading side."""
        return CallFilter(
            status=self.status,
            call_id_prefix=self.q,
            tenant_id=self.tenant,
            since=self.since,
            until=self.until,
            limit=self.limit,
            cursor=None if self.cursor is None else Cursor.decode(self.cursor),
        )

    @property
    def narrows(self) -> bool:
        """Whether anything but the status is asked for."""
        return any((self.q, self.tenant, self.since, self.until, self.cursor))


class TableQuery(CallsQuery):
    """Which calls the page shows."""

    fragment: bool = False
    """Only the part of the page that changes, for its own script."""


class CallQuery(Query):
    """Which of the calls of one id is wanted."""

    tenant: Identifier | None = None
    """Whose call; needed where tenants have calls of the same id."""
    result: UUID | None = None
    """A `result_id` of the call; absent: the newest result of the newest recording."""


class CallPageQuery(CallQuery):
    """Which call the page shows."""

    fragment: bool = False
    """Only the part of the page that changes, for its own script."""


class Alive(Answer):
    """The process answers."""

    status: Literal["alive"] = "alive"
    """Always that."""


class PartState(Answer):
    """A part that the worker needs."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    """What people call it."""
    address: str
    """Where it was sought, without secrets."""
    ok: bool
    """Whether it is there and fit."""
    detail: str
    """What was seen."""
    what_to_do: str
    """How to mend it; empty where it is well."""


class Readiness(Answer):
    """The worker can serve."""

    ready: Literal[True] = True
    """Always that: a worker that cannot answers 503."""
    part: PartState
    """What it was judged by."""


class Health(Answer):
    """Each part with its state."""

    ok: bool
    """Whether every part is well."""
    parts: tuple[PartState, ...]
    """The parts."""


class Problem(Answer):
    """What went wrong with a request (RFC 9457)."""

    type: str = "about:blank"
    """Names the kind of problem; `about:blank`: that of the status."""
    title: str
    """The kind of problem in a few words."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened and what to do."""
    parameter: str | None = None
    """The parameter at fault."""
    tenants: tuple[str, ...] | None = None
    """The tenants to choose from."""
    part: PartState | None = None
    """The part that is awaited."""
