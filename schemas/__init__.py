"""The events of Clearcall: how they are read, checked, written and described.

Nothing in here does I/O or knows Kafka, the database or the engine. What others need is named here; the
modules behind may be moved.
"""

from schemas.addresses import same_source, strip_address
from schemas.errors import ERROR_CODES, ErrorCode, SchemaError
from schemas.ids import (
    DEFAULT_TENANT_ID,
    IDENTIFIER_PATTERN,
    Identity,
    cleaned_event_id,
    erased_event_id,
    failed_event_id,
    is_identifier,
    rejected_id,
    result_id,
)
from schemas.json_text import MAX_EVENT_BYTES
from schemas.outgoing import (
    MAX_RAW_BYTES,
    CallCleaned,
    CallErased,
    CallFailed,
    CallRejected,
    ChainRef,
    CleanedChannel,
    Failure,
    HeaderText,
    Original,
    Refusal,
    Rendition,
    header_texts,
    raw_text,
)
from schemas.published import SCHEMA_NAMES, asyncapi, json_schema
from schemas.reading import Decoded, Headers, decode, read_traceparent
from schemas.recorded import SCHEMA_VERSION, CallRecorded, Encoding, Party, Pause, Recording, Retention
from schemas.statistics import (
    ChannelStatistics,
    CleanedChannelStatistics,
    CleanedMeasurement,
    DenoiseOutcome,
    Measurement,
    ProgrammeStatistics,
    ReportWarning,
    Statistics,
)
from schemas.writing import OutgoingEvent, TopicSuffix, encode

__all__ = [
    "DEFAULT_TENANT_ID",
    "ERROR_CODES",
    "IDENTIFIER_PATTERN",
    "MAX_EVENT_BYTES",
    "MAX_RAW_BYTES",
    "SCHEMA_NAMES",
    "SCHEMA_VERSION",
    "CallCleaned",
    "CallErased",
    "CallFailed",
    "CallRecorded",
    "CallRejected",
    "ChainRef",
    "ChannelStatistics",
    "CleanedChannel",
    "CleanedChannelStatistics",
    "CleanedMeasurement",
    "Decoded",
    "DenoiseOutcome",
    "Encoding",
    "ErrorCode",
    "Failure",
    "HeaderText",
    "Headers",
    "Identity",
    "Measurement",
    "Original",
    "OutgoingEvent",
    "Party",
    "Pause",
    "ProgrammeStatistics",
    "Recording",
    "Refusal",
    "Rendition",
    "ReportWarning",
    "Retention",
    "SchemaError",
    "Statistics",
    "TopicSuffix",
    "asyncapi",
    "cleaned_event_id",
    "decode",
    "encode",
    "erased_event_id",
    "failed_event_id",
    "header_texts",
    "is_identifier",
    "json_schema",
    "raw_text",
    "read_traceparent",
    "rejected_id",
    "result_id",
    "same_source",
    "strip_address",
]
