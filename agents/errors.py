"""Errors of the pipeline.

::

    PipelineError
    ├── Outage                  one of our own parts is away; costs no call an attempt
    ├── CallError               this call cannot be cleaned now, or ever; counts as an attempt
    ├── ConflictingDuplicate    an event names a known recording with another source
    └── Unstorable              an event holds what the database cannot keep
"""

from __future__ import annotations


class PipelineError(Exception):
    """Something that the pipeline knows how to go on after."""


class Outage(PipelineError):
    """One of our own parts (Postgres, S3, Kafka, the scratch disk) is away or full.

    Args:
        part: the part, as people call it.
        detail: what was seen, without secrets.
    """

    def __init__(self, part: str, detail: str) -> None:
        super().__init__(f"{part} is away: {detail}")
        self.part = part
        self.detail = detail


class CallError(PipelineError):
    """A call's own fault.

    Args:
        code: stable, for programs: ``checksum_mismatch``.
        message: one sentence for a person: what happened and what to do; without secrets.
        retriable: whether another attempt may help.
    """

    def __init__(self, code: str, message: str, *, retriable: bool) -> None:
        # Messages quote what others wrote. The database and JSON take neither half a surrogate pair nor NUL, and a
        # failure that cannot be written down would be tried for ever.
        message = message.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")
        super().__init__(message)
        self.code = code
        self.message = message
        self.retriable = retriable


class ConflictingDuplicate(PipelineError):
    """An event names a known recording with another address or checksum."""

    code = "conflicting_duplicate"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unstorable(PipelineError):
    """The database cannot keep a value of this event; trying again cannot help."""

    code = "unstorable"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
