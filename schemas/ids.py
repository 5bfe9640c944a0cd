"""Names of recordings and results: what an id may look like, and the ids that are derived from others.

Every derived id is a UUIDv5, so the same thing has the same id on every worker and after every restart.
Parts are joined by ``/``, which no part may contain, so two different tuples never give the same name.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID, uuid5

IDENTIFIER_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
"""How a tenant, call or recording id looks; ask `is_identifier`: Python's ``$`` allows a newline."""

DEFAULT_TENANT_ID: Final = "default"

_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN.removeprefix("^").removesuffix("$"))

# Fixed for ever: other systems keep the ids that come from it.
_NAMESPACE: Final = UUID("5f0e6b0a-6c7e-4d0e-9d55-0c1f6f6b7c1e")
_RESULT: Final = uuid5(_NAMESPACE, "result")
_CLEANED: Final = uuid5(_NAMESPACE, "call.cleaned")
_FAILED: Final = uuid5(_NAMESPACE, "call.failed")
_REJECTED: Final = uuid5(_NAMESPACE, "call.rejected")
_ERASED: Final = uuid5(_NAMESPACE, "call.erased")


class Identity(NamedTuple):
    """Whose recording an event speaks of, as far as it is known (None: missing or not a valid id)."""

    tenant_id: str | None = None
    call_id: str | None = None
    recording_id: str | None = None

    def __str__(self) -> str:
        """Give ``tenant/call/recording`` with ``?`` for what is not known."""
        return "/".join(part or "?" for part in self)


def is_identifier(value: object) -> bool:
    """Say whether `value` is text that may serve as tenant, call or recording id."""
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def identity_in(event: object) -> Identity:
    """Read the ids out of a `call.recorded` object that need not be valid otherwise; never raises.

    A CloudEvent is looked into. An id that is absent gets its default; one that breaks the pattern is None.
    """
    if isinstance(event, Mapping) and "call_id" not in event:
        event = event.get("data")
    if not isinstance(event, Mapping):
        return Identity()
    call_id = _valid(event.get("call_id"))
    tenant_id, recording_id = event.get("tenant_id"), event.get("recording_id")
    return Identity(
        tenant_id=DEFAULT_TENANT_ID if tenant_id is None else _valid(tenant_id),
        call_id=call_id,
        recording_id=call_id if recording_id is None else _valid(recording_id),
    )


def result_id(tenant_id: str, call_id: str, recording_id: str, chain_digest: str) -> UUID:
    """Name the result of one recording under one resolved chain."""
    return _named(_RESULT, tenant_id, call_id, recording_id, chain_digest)


def cleaned_event_id(result: UUID) -> UUID:
    """Name the `call.cleaned` of a result: however often it is sent, it is the same event."""
    return _named(_CLEANED, result)


def failed_event_id(result: UUID, retry_round: int) -> UUID:
    """Name the `call.failed` of a result; a later round (an operator's retry) that fails is another event."""
    return _named(_FAILED, result, retry_round)


def rejected_id(topic: str, partition: int, offset: int, timestamp_ms: int | None, sha256: str) -> UUID:
    """Name a rejected message, and the `call.rejected` that tells of it.

    Time and hash are part of it because a broker that was set up anew counts its offsets from zero again.
    No time is the same as Kafka's -1.
    """
    return _named(_REJECTED, topic, partition, offset, -1 if timestamp_ms is None else timestamp_ms, sha256)


def erased_event_id(tenant_id: str, call_id: str, recording_id: str, erased_at: datetime) -> UUID:
    """Name the `call.erased` of one erasure; a recording that came again may be erased again."""
    return _named(_ERASED, tenant_id, call_id, recording_id, erased_at.astimezone(UTC).isoformat())


def _valid(value: object) -> str | None:
    return value if isinstance(value, str) and is_identifier(value) else None


def _named(namespace: UUID, *parts: object) -> UUID:
    texts = [str(part) for part in parts]
    if any(not text or "/" in text for text in texts):
        raise ValueError(f"an id is made of parts that are not empty and have no '/', got {texts}")
    return uuid5(namespace, "/".join(texts))
