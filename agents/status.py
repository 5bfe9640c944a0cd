"""The life of a result. Everything that decides about a status lives here; the database repeats it in a trigger."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class CallStatus(StrEnum):
    """Where a result is; ``rejected`` is the status of an event that never became a result."""

    QUEUED = "queued"
    PROCESSING = "processing"
    CLEANED = "cleaned"
    FAILED = "failed"
    REJECTED = "rejected"
    ERASED = "erased"


TRANSITIONS = MappingProxyType(
    {
        CallStatus.QUEUED: frozenset({CallStatus.PROCESSING, CallStatus.ERASED}),
        # Back to queued: a release, an expired lease's next claim, or another attempt.
        CallStatus.PROCESSING: frozenset(
            {CallStatus.QUEUED, CallStatus.CLEANED, CallStatus.FAILED, CallStatus.ERASED}
        ),
        CallStatus.CLEANED: frozenset({CallStatus.ERASED}),
        # Back to queued: somebody asked for another round.
        CallStatus.FAILED: frozenset({CallStatus.QUEUED, CallStatus.ERASED}),
        CallStatus.REJECTED: frozenset[CallStatus](),
        CallStatus.ERASED: frozenset[CallStatus](),
    }
)

ENDED = frozenset({CallStatus.CLEANED, CallStatus.FAILED, CallStatus.REJECTED, CallStatus.ERASED})
