"""The events that go out: `call.cleaned`, `call.failed`, `call.rejected`, `call.erased`.

Consumers drop keys that they do not know: a later version of schema 1 may add some, and takes none away.
"""

import re
from base64 import b64encode
from collections.abc import Iterable
from typing import Annotated, ClassVar, Final, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from schemas.addresses import strip_address
from schemas.ids import Identity
from schemas.recorded import EventPart, Identifier, Text, UtcTime
from schemas.statistics import CleanedMeasurement, Statistics

MAX_RAW_BYTES: Final = 512 * 1024
"""Longest rejected value that `call.rejected` carries along; all of them stay in the database."""

PublicAddress = Annotated[str, AfterValidator(strip_address)]
Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Digest = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Size = Annotated[int, Field(ge=0)]
Metadata = dict[str, str]

_MAX_HEADER_NAME_CHARS: Final = 256
_MAX_HEADER_VALUE_CHARS: Final = 1024
_MAX_HEADERS_CHARS: Final = 16 * 1024
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class OutgoingPart(EventPart):
    """A part of an event that goes out; keys of a later version are kept."""

    # Every field is written, so consumers may count on it.
    model_config = ConfigDict(extra="allow", json_schema_serialization_defaults_required=True)


class ChainRef(OutgoingPart):
    """The processing chain that was used."""

    name: str
    """Its name in the chain file."""
    digest: Digest
    """Of the resolved chain: another digest is another result."""


class Original(OutgoingPart):
    """The recording as it came; it is never changed."""

    url: PublicAddress
    """Where it lies, without query string and user info."""
    sha256: Sha256Hex | None = None
    """SHA-256 of the file in hex; null: not known."""
    bytes: Size | None = None
    """Length of the file; null: not known."""


class CleanedChannel(OutgoingPart):
    """Who is heard in a channel."""

    index: Size
    """Place in the file, from 0."""
    role: str | None = None
    """As the event named it; null: it named none."""


class Rendition(OutgoingPart):
    """One cleaned file."""

    name: str
    """Its name in the chain, as in listen or asr."""
    url: PublicAddress
    """Where it lies in the output store."""
    media_type: str
    """As in audio/flac."""
    sha256: Sha256Hex
    """SHA-256 of the file in hex."""
    bytes: Size
    """Length of the file."""
    sample_rate_hz: Annotated[int, Field(gt=0)]
    """Samples a second and channel."""
    channels: Annotated[int, Field(gt=0)]
    """Channels of the file."""
    frames: Size
    """Samples of a channel."""
    duration_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Length in seconds."""
    after: CleanedMeasurement
    """What was measured on it."""


class Outbound(OutgoingPart):
    """What all events that go out have."""

    TYPE: ClassVar[str]

    schema_version: Literal[1] = 1
    """Version of this schema."""
    event_id: UUID
    """The same event always has the same id: consumers drop what they have seen. Also `ce_id`."""


class RecordingOutbound(Outbound):
    """What all events about one recording have."""

    tenant_id: Identifier
    """Whose call it is."""
    call_id: Identifier
    """The call."""
    recording_id: Identifier
    """The recording among the call's recordings."""

    @property
    def identity(self) -> Identity:
        """Whose recording it is."""
        return Identity(self.tenant_id, self.call_id, self.recording_id)


class CallCleaned(RecordingOutbound):
    """A recording was cleaned and its renditions can be fetched."""

    TYPE: ClassVar[str] = "call.cleaned"

    result_id: UUID
    """Names recording and chain; in the status pages and the REST interface too."""
    cleaned_at: UtcTime
    """When the result was recorded."""
    original: Original
    """The recording as it came."""
    chain: ChainRef
    """How it was cleaned."""
    channels: tuple[CleanedChannel, ...]
    """Who is heard in each channel."""
    renditions: tuple[Rendition, ...]
    """The cleaned files."""
    statistics: Statistics
    """What was measured on the recording as it came."""
    metadata: Metadata = Field(default_factory=dict)
    """Text pairs of the publisher's own, as they came."""


class Failure(OutgoingPart):
    """Why a recording was not cleaned."""

    code: str
    """For programs, as in checksum_mismatch."""
    message: str
    """For people."""
    retriable: bool
    """Whether the cause may pass: true, and trying again later (`clearcall retry`) may help."""
    attempts: Size
    """Attempts that were made in this round."""


class CallFailed(RecordingOutbound):
    """A recording could not be cleaned, and no further attempt will be made by itself."""

    TYPE: ClassVar[str] = "call.failed"

    result_id: UUID
    """Names recording and chain; in the status pages and the REST interface too."""
    failed_at: UtcTime
    """When it was given up."""
    original: Original
    """The recording as it came."""
    chain: ChainRef
    """How it was to be cleaned."""
    error: Failure
    """Why."""
    metadata: Metadata = Field(default_factory=dict)
    """Text pairs of the publisher's own, as they came."""


class Refusal(OutgoingPart):
    """Why a message was not taken."""

    code: str
    """For programs, as in malformed_json."""
    message: str
    """For people: names the field at fault."""
    field: str | None = None
    """Path of the field at fault; null: no single one."""


class HeaderText(OutgoingPart):
    """A header of a rejected message, made fit to be read."""

    name: str
    """Its name."""
    value: str
    """Its value; bytes that are no text are shown as ``\\xNN``, and what is cut short ends in …"""


class CallRejected(Outbound):
    """A message on `call.recorded` was not taken. Its bytes are kept: ``clearcall rejected show ID``."""

    TYPE: ClassVar[str] = "call.rejected"

    rejected_at: UtcTime
    """When it was refused."""
    error: Refusal
    """Why."""
    tenant_id: Identifier | None = None
    """Whose call it is; null: could not be read."""
    call_id: Identifier | None = None
    """The call; null: could not be read."""
    recording_id: Identifier | None = None
    """The recording; null: could not be read."""
    topic: str
    """Where the message stood."""
    partition: Size
    """Where the message stood."""
    offset: Size
    """Where the message stood; the embedded broker's offsets begin again at every start."""
    timestamp: int | None
    """The message's own time as Kafka keeps it: milliseconds since 1970 in UTC; null: it has none."""
    sha256: Sha256Hex
    """SHA-256 of the value in hex (of no bytes where it was null)."""
    headers: tuple[HeaderText, ...] = ()
    """The message's headers in their order, the first 16 KiB of them; all of them stay in the database."""
    raw: str | None
    """The value in base64; null: it was null or has more than 512 KiB."""

    @property
    def identity(self) -> Identity:
        """Whose recording it is, as far as it could be read."""
        return Identity(self.tenant_id, self.call_id, self.recording_id)


class CallErased(RecordingOutbound):
    """Everything that was kept of a recording is gone."""

    TYPE: ClassVar[str] = "call.erased"

    erased_at: UtcTime
    """When it was done."""
    reason: Text | None = None
    """Why, as in retention or request."""
    result_ids: tuple[UUID, ...] = ()
    """The results that are gone with it."""


AnyOutbound = CallCleaned | CallFailed | CallRejected | CallErased


def raw_text(value: bytes | None) -> str | None:
    """Give a rejected value as `CallRejected.raw` wants it: base64, or None where it is null or too long."""
    return None if value is None or len(value) > MAX_RAW_BYTES else b64encode(value).decode("ascii")


def header_texts(headers: Iterable[tuple[str, bytes | None]]) -> tuple[HeaderText, ...]:
    """Give a rejected message's headers as texts that JSON and the database can keep.

    No sender can make `call.rejected` longer than a broker takes (1 MiB): 256 characters of a name, 1,024 of
    a value and 16 Ki of them all are kept.
    """
    texts: list[HeaderText] = []
    left = _MAX_HEADERS_CHARS
    for name, value in headers:
        text = HeaderText(
            name=_header_text(name.encode("utf-8", "surrogatepass"), _MAX_HEADER_NAME_CHARS),
            value=_header_text(value or b"", _MAX_HEADER_VALUE_CHARS),
        )
        left -= len(text.name) + len(text.value) + 1
        if left < 0:
            break
        texts.append(text)
    return tuple(texts)


def _header_text(value: bytes, limit_chars: int) -> str:
    text = value[: 4 * limit_chars].decode("utf-8", errors="backslashreplace")
    text = _UNPRINTABLE.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
    return text if len(text) <= limit_chars else text[: limit_chars - 1] + "…"
