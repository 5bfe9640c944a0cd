"""What is wrong with a message.

Exception
└── SchemaError    the bytes are no `call.recorded` that this version understands; trying again cannot help
"""

from typing import ClassVar, Final, Literal, get_args

from schemas.ids import Identity

ErrorCode = Literal[
    "null_value",
    "empty_value",
    "too_large",
    "not_utf8",
    "malformed_json",
    "too_deep",
    "nul_character",
    "lone_surrogate",
    "not_an_object",
    "invalid_cloudevent",
    "wrong_event_type",
    "unknown_schema_version",
    "missing_field",
    "invalid_field",
]
"""Stable: stored with the rejected event, counted in metrics, matched by those who read `call.rejected`."""

ERROR_CODES: Final[tuple[str, ...]] = get_args(ErrorCode)


class SchemaError(Exception):
    """A message on `call.recorded` cannot be understood; it is rejected and its bytes are kept.

    Attributes
    ----------
    code
        Why, for programs.
    message
        Why, for people: one sentence that names the field. It holds no query string and no user info.
    field
        Path of the field at fault, as in ``pauses[2].end_s``; None where no single field is.
    identity
        The ids that could be read all the same; None where not even a call id could.
    """

    retriable: ClassVar[bool] = False

    def __init__(
        self, code: ErrorCode, message: str, *, field: str | None = None, identity: Identity | None = None
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.field = field
        self.identity = identity if identity and any((identity.call_id, identity.recording_id)) else None
