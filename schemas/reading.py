"""From the bytes of a Kafka message to `CallRecorded`: bare JSON and both CloudEvents modes, taken alike."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.exceptions import BaseCloudEventException, CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from pydantic import ValidationError

from schemas.errors import SchemaError
from schemas.explain import refused, shown
from schemas.ids import Identity, identity_in
from schemas.json_text import parse, salvage_identity
from schemas.recorded import SCHEMA_VERSION, CallRecorded
from schemas.traces import traceparent_in, valid_traceparent

Headers = Sequence[tuple[str, bytes]]
"""Headers of a Kafka message, in its order; of a name that comes twice the last holds."""

# A context attribute that is not among these is an extension or tells nothing of what the event is. Unknown
# things are kept out of the way: somebody's malformed extension must not cost the recording.
_CONTEXT: Final = ("specversion", "id", "source", "type")
_CONTENT_TYPE: Final = "content-type"
_STRUCTURED: Final = "application/cloudevents"


class Decoded(NamedTuple):
    """A message that was understood."""

    event: CallRecorded
    traceparent: str | None
    """W3C trace context that the message carried, if it is a valid one; goes out again with the result."""


def decode(value: bytes | None, headers: Headers = ()) -> Decoded:
    """Read a message of the topic `call.recorded`.

    Parameters
    ----------
    value
        The message's value; None for a tombstone.
    headers
        The message's headers.

    Raises
    ------
    SchemaError
        For whatever else is wrong with any bytes at all; no other exception leaves this function.
    """
    if value is None:
        raise SchemaError("null_value", "the event is null: a tombstone has no meaning on this topic")
    named = _by_name(headers)
    content_type = named.get(_CONTENT_TYPE, b"").decode("ascii", errors="replace").strip().lower()
    traceparent = traceparent_in(named)
    if content_type.startswith(_STRUCTURED):
        event, extension = _structured(_body_of_structured(value, content_type))
    elif "ce_type" in named or "ce_specversion" in named:
        event, extension = _binary(value, named), None
    else:
        body = parse(value)
        is_cloudevent = isinstance(body, dict) and {"specversion", "type"} <= body.keys() and _has_data(body)
        event, extension = _structured(body) if is_cloudevent else (body, None)
    return Decoded(_validated(event), traceparent or extension)


def read_traceparent(headers: Headers) -> str | None:
    """Give the valid trace context in a message's headers, if any; also where `decode` refuses the rest."""
    return traceparent_in(_by_name(headers))


def _by_name(headers: Headers) -> dict[str, bytes]:
    # Some clients give None for a header without a value.
    return {name.lower(): value or b"" for name, value in headers}


class _BytesAsData(JSONFormat):
    """The JSON format, but data stays bytes: the package's own reading knows no limits."""

    def read_data(self, body: bytes, datacontenttype: str | None) -> bytes:  # noqa: ARG002
        return body


def _binary(value: bytes, named: Mapping[str, bytes]) -> Any:
    wanted = {f"ce_{name}": named[f"ce_{name}"] for name in _CONTEXT if f"ce_{name}" in named}
    message = KafkaMessage(headers=wanted, key=None, value=value)
    try:
        context = from_binary(message, _BytesAsData(), _factory)
    except UnicodeDecodeError as error:
        text = "a CloudEvents header (ce_…) is not UTF-8"
        raise SchemaError("invalid_cloudevent", text, identity=salvage_identity(value)) from error
    except BaseCloudEventException as error:
        raise _no_cloudevent(error, "ce_", salvage_identity(value)) from error
    if not _is_ours(context):
        raise _wrong_type(context, salvage_identity(value))
    return parse(value)


def _body_of_structured(value: bytes, content_type: str) -> Any:
    kind = content_type.partition(";")[0].strip()
    if kind != f"{_STRUCTURED}+json":
        message = f"content-type is {shown(kind)}: of structured CloudEvents only {_STRUCTURED}+json is read"
        raise SchemaError(
            "invalid_cloudevent", message, field=_CONTENT_TYPE, identity=salvage_identity(value)
        )
    return parse(value)


def _structured(body: Any) -> tuple[Any, str | None]:
    """Take the event and the trace context out of a CloudEvent that is a JSON object."""
    if not isinstance(body, dict):
        raise SchemaError("not_an_object", f"the CloudEvent must be a JSON object, got {shown(body)}")
    data = _data(body)
    identity = identity_in(data)
    try:
        context = CloudEvent({name: body[name] for name in _CONTEXT if name in body})
    except BaseCloudEventException as error:
        raise _no_cloudevent(error, "", identity) from error
    if not _is_ours(context):
        raise _wrong_type(context, identity)
    if not _has_data(body):
        raise SchemaError("missing_field", "data is missing from the CloudEvent", field="data")
    return data, valid_traceparent(body.get("traceparent"))


def _has_data(body: Mapping[str, Any]) -> bool:
    return "data" in body or "data_base64" in body


def _data(body: Mapping[str, Any]) -> Any:
    if "data" in body or not isinstance(body.get("data_base64"), str):
        return body.get("data")
    try:
        return parse(base64.b64decode(body["data_base64"], validate=True))
    except ValueError as error:
        raise SchemaError("invalid_cloudevent", "data_base64 is not base64", field="data_base64") from error


def _factory(attributes: dict[str, Any], data: Any = None) -> BaseCloudEvent:
    return CloudEvent(attributes, data)


def _no_cloudevent(error: BaseCloudEventException, prefix: str, identity: Identity) -> SchemaError:
    name = next(iter(error.errors)) if isinstance(error, CloudEventValidationError) else ""
    wanted = "must be 1.0" if name == "specversion" else "must be text that is not empty"
    return SchemaError(
        "invalid_cloudevent",
        f"{prefix}{name} of the CloudEvent {wanted}",
        field=f"{prefix}{name}",
        identity=identity,
    )


def _is_ours(context: BaseCloudEvent) -> bool:
    kind = context.get_type()
    return kind == CallRecorded.TYPE or kind.endswith(f".{CallRecorded.TYPE}")


def _wrong_type(context: BaseCloudEvent, identity: Identity) -> SchemaError:
    kind = shown(context.get_type())
    message = f"the CloudEvent's type is {kind}, but this topic takes {CallRecorded.TYPE} alone"
    return SchemaError("wrong_event_type", message, field="type", identity=identity)


def _validated(event: Any) -> CallRecorded:
    if not isinstance(event, dict):
        raise SchemaError("not_an_object", f"the event must be a JSON object, got {shown(event)}")
    version = event.get("schema_version")
    if version is not None and (isinstance(version, bool) or version != SCHEMA_VERSION):
        message = (
            f"schema_version must be {SCHEMA_VERSION}, got {shown(version)}: this version cannot read it"
        )
        raise SchemaError(
            "unknown_schema_version", message, field="schema_version", identity=identity_in(event)
        )
    try:
        return CallRecorded.model_validate(event)
    except ValidationError as error:
        raise refused(event, error) from None
