"""`call.recorded`: what telephony says about a recording, checked field by field.

Null means the same as absent for every field that need not be there. Unknown fields are dropped.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from schemas.addresses import ADDRESS_PATTERN, MAX_ADDRESS_CHARS, check_address
from schemas.ids import DEFAULT_TENANT_ID, IDENTIFIER_PATTERN, Identity

SCHEMA_VERSION: Final = 1

MAX_CHANNELS: Final = 8
MAX_PAUSES: Final = 1000
MAX_METADATA_PAIRS: Final = 64
MAX_BYTES: Final = 2**63 - 1
MAX_SECONDS: Final = 1e9
MAX_RETENTION_DAYS: Final = 36_500

_LOOKS_LIKE_A_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _whole(value: object) -> object:
    # JSON has one kind of number: 8000.0 is as whole as 8000, and some publishers can only write the former.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _time_text(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _LOOKS_LIKE_A_TIME.match(value)):
        return value
    raise PydanticCustomError("time", "must be a time as in 2026-11-20T10:00:00Z")


def _in_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError("time", "must say its time zone, as in 2026-11-20T10:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("time", "must be a time from year 1 to 9999 in UTC") from None


@dataclass(frozen=True)
class _NullIs:
    """Makes null mean the same as absent, in the model and in its JSON Schema."""

    default: Callable[[], object]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def fill(value: object) -> object:
            return self.default() if value is None else value

        return core_schema.no_info_before_validator_function(fill, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _at_most(limit: int) -> BeforeValidator:
    # Before the entries are looked at: a million wrong ones must not become a million error reports.
    def check(value: object) -> object:
        if isinstance(value, (list, tuple, dict)) and len(value) > limit:
            raise PydanticCustomError(
                "too_many",
                "must have at most {limit} entries, has {size}",
                {"limit": limit, "size": len(value)},
            )
        return value

    return BeforeValidator(check)


Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
Text = Annotated[str, StringConstraints(max_length=256)]
ChainName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f]{64}$", to_lower=True)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
UtcTime = Annotated[datetime, BeforeValidator(_time_text), AfterValidator(_in_utc)]
Address = Annotated[
    str,
    StringConstraints(max_length=MAX_ADDRESS_CHARS),
    AfterValidator(check_address),
    WithJsonSchema({"type": "string", "maxLength": MAX_ADDRESS_CHARS, "pattern": ADDRESS_PATTERN}),
]


class EventPart(BaseModel):
    """A part of an event: a value that does not change; fields of later versions are dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Encoding(EventPart):
    """How the samples of a file without a header are to be read; one that has a header needs none of this."""

    format: Literal["slin", "ulaw", "alaw", "gsm", "g722"]
    """slin (16 bit little endian), ulaw, alaw, gsm (06.10) or g722."""
    sample_rate_hz: Annotated[int, Field(strict=True, ge=8000, le=48_000), BeforeValidator(_whole)] = 8000
    """Samples a second and channel, 8000 to 48000."""
    channels: Annotated[int, Field(strict=True, ge=1, le=MAX_CHANNELS), BeforeValidator(_whole)] = 1
    """Interleaved channels, 1 to 8."""


class Recording(EventPart):
    """Where the recording lies, and what is known about the file."""

    url: Address
    """Its address: s3://bucket/key or https://…; http:// and file:// only where the settings allow them."""
    sha256: Sha256 | None = None
    """SHA-256 of the file in hex; what is fetched must match, else the call fails: `checksum_mismatch`."""
    bytes: Annotated[int, Field(strict=True, ge=0, le=MAX_BYTES), BeforeValidator(_whole)] | None = None
    """Length of the file; what is fetched must match, else the call fails: `checksum_mismatch`."""
    encoding: Encoding | None = None
    """Only for files without a header."""


class Party(EventPart):
    """Who is heard in a channel."""

    role: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    """What the party is in the call, as in agent or customer."""
    name: Text | None = None
    """Who the party is, for people."""


class Pause(EventPart):
    """A span in which the recording was paused or masked; it is left out of every statistic."""

    start_s: Seconds
    """Seconds from the beginning of the recording."""
    end_s: Seconds
    """Seconds from the beginning of the recording, after the start."""
    reason: Text | None = None
    """Why, as in payment."""

    @field_validator("end_s")
    @classmethod
    def _ends_after_its_start(cls, end_s: float, info: ValidationInfo) -> float:
        start_s = info.data.get("start_s")
        if start_s is not None and end_s <= start_s:
            raise PydanticCustomError(
                "order",
                "must be greater than start_s, got {end} after {start}",
                {"end": end_s, "start": start_s},
            )
        return end_s


class Retention(EventPart):
    """How long the call may be kept."""

    days: Annotated[int, Field(strict=True, ge=0, le=MAX_RETENTION_DAYS), BeforeValidator(_whole)] | None = (
        None
    )
    """Days from the recording on; null: as the service is set."""
    legal_hold: Annotated[bool, Field(strict=True, validate_default=True), _NullIs(bool)] = False
    """True: nothing of the call may be erased, whatever its age."""


class CallRecorded(EventPart):
    """A call recording is ready to be cleaned."""

    TYPE: ClassVar[str] = "call.recorded"

    schema_version: Annotated[Literal[1], _NullIs(lambda: SCHEMA_VERSION)] = 1
    """Version of this schema; another one than 1 is refused."""
    tenant_id: Annotated[Identifier, _NullIs(lambda: DEFAULT_TENANT_ID)] = DEFAULT_TENANT_ID
    """Whose call it is."""
    call_id: Identifier
    """The call."""
    recording_id: Annotated[Identifier, _NullIs(lambda: None)] = Field(default=None, validate_default=True)
    """The recording among the call's recordings; absent: the call id."""
    recorded_at: UtcTime | None = None
    """When the recording began."""
    recording: Recording
    """The file."""
    channels: Annotated[
        tuple[Party, ...], Field(max_length=MAX_CHANNELS), _at_most(MAX_CHANNELS), _NullIs(tuple)
    ] = ()
    """Who is heard in each channel of the file, in the file's order; empty: not known."""
    direction: Literal["inbound", "outbound", "internal"] | None = None
    """Who called whom, seen from the call centre."""
    agent_id: Text | None = None
    """The agent, as the telephony names people."""
    queue: Text | None = None
    """The queue or skill that the call came through."""
    pauses: Annotated[
        tuple[Pause, ...], Field(max_length=MAX_PAUSES), _at_most(MAX_PAUSES), _NullIs(tuple)
    ] = ()
    """Spans in which the recording was paused or masked."""
    retention: Annotated[Retention, _NullIs(Retention)] = Retention()
    """How long the call may be kept."""
    chain: ChainName | None = None
    """Name of the processing chain; null: the tenant's, else the default one."""
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=128)],
            Annotated[str, StringConstraints(max_length=1024)],
        ],
        Field(max_length=MAX_METADATA_PAIRS),
        _at_most(MAX_METADATA_PAIRS),
        _NullIs(dict),
    ] = Field(default_factory=dict)
    """Text pairs of the publisher's own; handed on in every event about the call."""

    @field_validator("recording_id", mode="before")
    @classmethod
    def _is_the_call_id_unless_given(cls, value: object, info: ValidationInfo) -> object:
        # "unread" is never seen: with no valid call id the event is refused for that.
        return info.data.get("call_id", "unread") if value is None else value

    @property
    def identity(self) -> Identity:
        """Whose recording it is."""
        return Identity(self.tenant_id, self.call_id, self.recording_id)
