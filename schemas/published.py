"""What other teams build against: a JSON Schema of each event, and an AsyncAPI document of all of them."""

from typing import Any, Final, Literal, NamedTuple

from pydantic.json_schema import models_json_schema

from schemas import examples
from schemas.ids import IDENTIFIER_PATTERN
from schemas.outgoing import CallCleaned, CallErased, CallFailed, CallRejected, Outbound
from schemas.recorded import SCHEMA_VERSION, CallRecorded
from schemas.traces import TRACEPARENT_PATTERN

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_KAFKA_BINDING: Final = "0.5.0"


class _Published(NamedTuple):
    model: type[CallRecorded | Outbound]
    example: dict[str, Any]
    # What is read may leave out what has a default; what is written never does.
    mode: Literal["validation", "serialization"]
    keyed: bool


_EVENTS: Final[dict[str, _Published]] = {
    CallRecorded.TYPE: _Published(CallRecorded, examples.RECORDED, "validation", keyed=False),
    CallCleaned.TYPE: _Published(CallCleaned, examples.CLEANED, "serialization", keyed=True),
    CallFailed.TYPE: _Published(CallFailed, examples.FAILED, "serialization", keyed=True),
    CallRejected.TYPE: _Published(CallRejected, examples.REJECTED, "serialization", keyed=False),
    CallErased.TYPE: _Published(CallErased, examples.ERASED, "serialization", keyed=True),
}

SCHEMA_NAMES: Final[tuple[str, ...]] = tuple(_EVENTS)
"""The names that `json_schema` knows."""


def json_schema(name: str) -> dict[str, Any]:
    """Give the JSON Schema (draft 2020-12) of an event.

    Raises
    ------
    KeyError
        `name` is none of `SCHEMA_NAMES`.
    """
    event = _EVENTS[name]
    schema = event.model.model_json_schema(mode=event.mode)
    return {
        "$schema": _DIALECT,
        "$id": f"urn:clearcall:schema:{name}:{SCHEMA_VERSION}",
        **schema,
        "title": name,
        "examples": [event.example],
    }


def asyncapi(topic_prefix: str = "") -> dict[str, Any]:
    """Give the AsyncAPI 3.0 document, seen from Clearcall: it receives `call.recorded` and sends the others.

    Parameters
    ----------
    topic_prefix
        What the deployment puts before each topic's name.
    """
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Clearcall",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "Cleans call recordings. Sending is at least once: consumers drop event ids that "
            "they have seen. Keys may be added to events at any time; another meaning, or a key less, is "
            "another schema_version.",
        },
        "defaultContentType": "application/json",
        "channels": {_camel(name): _channel(name, topic_prefix) for name in _EVENTS},
        "operations": {
            f"{_action(name)}{event.model.__name__}": _operation(name) for name, event in _EVENTS.items()
        },
        "components": {
            "messages": {event.model.__name__: _message(name) for name, event in _EVENTS.items()},
            "schemas": _component_schemas(),
        },
    }


def _component_schemas() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [(event.model, event.mode) for event in _EVENTS.values()], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _action(name: str) -> Literal["receive", "send"]:
    return "receive" if name == CallRecorded.TYPE else "send"


def _camel(name: str) -> str:
    first, *rest = name.split(".")
    return first + "".join(word.capitalize() for word in rest)


def _channel(name: str, topic_prefix: str) -> dict[str, Any]:
    model = _EVENTS[name].model
    return {
        "address": f"{topic_prefix}{name}",
        "title": name,
        "description": model.__doc__,
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}},
        "bindings": {"kafka": {"topic": f"{topic_prefix}{name}", "bindingVersion": _KAFKA_BINDING}},
    }


def _operation(name: str) -> dict[str, Any]:
    channel, message = _camel(name), _EVENTS[name].model.__name__
    return {
        "action": _action(name),
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": _EVENTS[name].model.__doc__,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _message(name: str) -> dict[str, Any]:
    event = _EVENTS[name]
    model = event.model.__name__
    message = {
        "name": name,
        "title": name,
        "summary": event.model.__doc__,
        "contentType": "application/json",
        "headers": _headers(name),
        "payload": {"$ref": f"#/components/schemas/{model}"},
        "bindings": {"kafka": _kafka_message(keyed=event.keyed)},
        "examples": [{"name": "example", "payload": event.example}],
    }
    if name == CallRecorded.TYPE:
        message["description"] = (
            "Bare JSON, CloudEvents binary mode (the headers given here) or CloudEvents structured mode "
            "(content-type application/cloudevents+json), at most 1 MiB. The key is not read."
        )
    return message


def _kafka_message(*, keyed: bool) -> dict[str, Any]:
    binding: dict[str, Any] = {"bindingVersion": _KAFKA_BINDING}
    if keyed:
        identifier = IDENTIFIER_PATTERN.removeprefix("^").removesuffix("$")
        binding["key"] = {
            "type": "string",
            "description": "tenant_id/call_id: the events of a call keep their order",
            "pattern": f"^{identifier}/{identifier}$",
        }
    return binding


def _headers(name: str) -> dict[str, Any]:
    incoming = name == CallRecorded.TYPE
    trace = {"type": "string", "pattern": TRACEPARENT_PATTERN}
    return {
        "type": "object",
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": {"type": "string", "description": "The event's id" if incoming else "The event_id"},
            "ce_source": {"type": "string", "description": "Who sends it, as a URI reference"},
            "ce_type": {"type": "string"}
            | ({"pattern": r"^(.+\.)?call\.recorded$"} if incoming else {"const": name}),
            "ce_subject": {"type": "string", "description": "tenant_id/call_id/recording_id"},
            "ce_time": {"type": "string", "format": "date-time"},
            "content-type": {"type": "string"} | ({} if incoming else {"const": "application/json"}),
            "traceparent": trace | {"description": "W3C trace context, passed on from call.recorded"},
            "ce_traceparent": trace | {"description": "The same as CloudEvents extension"},
        },
        "required": []
        if incoming
        else ["ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time", "content-type"],
    }
