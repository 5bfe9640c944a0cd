"""The published JSON Schemas and the AsyncAPI document: valid in themselves, and true of the models."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from schemas import (
    SCHEMA_NAMES,
    CallCleaned,
    CallErased,
    CallFailed,
    CallRecorded,
    CallRejected,
    SchemaError,
    asyncapi,
    decode,
    encode,
    examples,
    json_schema,
)
from tests.unit.schemas.messages import SMALLEST, TRACEPARENT
from tests.unit.schemas.test_hostile_bytes import JSON_VALUES, PLACES
from tests.unit.schemas.test_reading import CONTRACT_EXAMPLE

MODELS: tuple[type[BaseModel], ...] = (CallRecorded, CallCleaned, CallFailed, CallRejected, CallErased)
SENT = [
    CallCleaned.model_validate(examples.CLEANED),
    CallFailed.model_validate(examples.FAILED),
    CallRejected.model_validate(examples.REJECTED),
    CallErased.model_validate(examples.ERASED),
]


def validator(name: str) -> Draft202012Validator:
    """Give a validator for the event's published schema."""
    return Draft202012Validator(json_schema(name))


def nodes(value: Any, path: str = "#") -> Iterator[tuple[str, Any]]:
    """Walk through all values of a JSON document with their places."""
    yield path, value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from nodes(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from nodes(inner, f"{path}/{index}")


def resolved(document: dict[str, Any], reference: str) -> Any:
    """Follow a reference inside a document; a dangling one is a KeyError."""
    assert reference.startswith("#/")
    found: Any = document
    for step in reference[2:].split("/"):
        found = found[step]
    return found


def test_there_is_a_schema_for_each_event() -> None:
    assert SCHEMA_NAMES == ("call.recorded", "call.cleaned", "call.failed", "call.rejected", "call.erased")
    assert len({json_schema(name)["$id"] for name in SCHEMA_NAMES}) == len(MODELS)
    with pytest.raises(KeyError):
        json_schema("call.lost")


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_a_schema_is_valid_and_says_what_it_is(name: str) -> None:
    schema = json_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:clearcall:schema:{name}:1"
    assert schema["title"] == name
    assert schema["description"]


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_every_field_has_a_description(name: str) -> None:
    schema = json_schema(name)
    parts = [schema, *schema.get("$defs", {}).values()]
    silent = [
        f"{part['title']}.{field}"
        for part in parts
        for field, rules in part.get("properties", {}).items()
        if not rules.get("description")
    ]
    assert silent == []
    assert all(part["description"] for part in parts)


@pytest.mark.parametrize("name", SCHEMA_NAMES)
def test_the_examples_are_valid(name: str) -> None:
    schema = json_schema(name)
    assert schema["examples"]
    for example in schema["examples"]:
        validator(name).validate(example)
        model = MODELS[SCHEMA_NAMES.index(name)]
        assert model.model_validate_json(json.dumps(example))


@pytest.mark.parametrize("event", SENT, ids=lambda event: event.TYPE)
def test_what_is_sent_fits_the_published_schema(
    event: CallCleaned | CallFailed | CallRejected | CallErased,
) -> None:
    validator(event.TYPE).validate(json.loads(encode(event, source="/clearcall").value))


def test_the_schema_knows_what_may_be_left_out_and_what_may_not() -> None:
    recorded = validator("call.recorded")
    recorded.validate(json.loads(CONTRACT_EXAMPLE))
    recorded.validate(SMALLEST)
    recorded.validate(dict.fromkeys(CallRecorded.model_fields) | SMALLEST)
    assert json_schema("call.recorded")["required"] == ["call_id", "recording"]
    for name, model in zip(SCHEMA_NAMES[1:], MODELS[1:], strict=True):
        assert sorted(json_schema(name)["required"]) == sorted(model.model_fields)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"call_id": "../x"}, "call_id"),
        ({"schema_version": 2}, "schema_version"),
        ({"recording": {"url": "ftp://h/x"}}, "recording"),
        ({"recording": {"url": "s3://b/k", "bytes": "1"}}, "recording"),
        ({"channels": [{"role": "a"}] * 9}, "channels"),
        ({"metadata": {"a": 1}}, "metadata"),
    ],
)
def test_the_schema_refuses_what_would_be_rejected(change: dict[str, Any], field: str) -> None:
    errors = list(validator("call.recorded").iter_errors(SMALLEST | change))
    assert {error.absolute_path[0] for error in errors} == {field}


RECORDED = validator("call.recorded")


@given(st.sampled_from(PLACES), JSON_VALUES | st.sampled_from([8000.0, 2.0, 1.5, True, "1", [], {}, None]))
@settings(deadline=None, max_examples=300)
def test_whatever_is_taken_fits_the_published_schema(place: tuple[Any, ...], replacement: Any) -> None:
    changed = json.loads(json.dumps(examples.RECORDED))
    inner = changed
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = replacement
    try:
        decode(json.dumps(changed).encode(), [])
    except SchemaError:
        return
    RECORDED.validate(changed)


@pytest.mark.parametrize("prefix", ["", "staging."])
def test_every_reference_of_the_asyncapi_document_leads_somewhere(prefix: str) -> None:
    document = asyncapi(prefix)
    references = [node["$ref"] for _, node in nodes(document) if isinstance(node, dict) and "$ref" in node]
    assert len(references) > 20
    for reference in references:
        assert resolved(document, reference)


def test_the_asyncapi_document_has_what_version_3_requires() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    assert set(document) <= {"asyncapi", "info", "defaultContentType", "channels", "operations", "components"}
    names = re.compile(r"[A-Za-z0-9_.-]+")
    for group in (document["channels"], document["operations"], *document["components"].values()):
        assert all(names.fullmatch(name) for name in group)
    for operation in document["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = resolved(document, operation["channel"]["$ref"])
        for message in operation["messages"]:
            # An operation names messages by way of its own channel.
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")
            assert resolved(document, message["$ref"]) in channel["messages"].values()


def test_clearcall_receives_one_event_and_sends_the_others_under_the_prefix() -> None:
    document = asyncapi("staging.")
    told = {
        (operation["action"], resolved(document, operation["channel"]["$ref"])["address"])
        for operation in document["operations"].values()
    }
    assert told == {("receive", "staging.call.recorded")} | {
        ("send", f"staging.{name}") for name in SCHEMA_NAMES if name != "call.recorded"
    }


@pytest.mark.parametrize("event", SENT, ids=lambda event: event.TYPE)
def test_a_sent_message_is_as_the_asyncapi_document_says(
    event: CallCleaned | CallFailed | CallRejected | CallErased,
) -> None:
    document = asyncapi()
    told = document["components"]["messages"][type(event).__name__]
    message = encode(event, source="/clearcall", traceparent=TRACEPARENT)
    headers = {name: text.decode() for name, text in message.headers}
    assert headers.keys() <= told["headers"]["properties"].keys()
    Draft202012Validator(told["headers"]).validate(headers)
    payload = {"$ref": told["payload"]["$ref"], "components": document["components"]}
    Draft202012Validator(payload).validate(json.loads(message.value))
    key = told["bindings"]["kafka"].get("key")
    assert (key is None) == (message.key is None)
    if key is not None and message.key is not None:
        Draft202012Validator(key).validate(message.key.decode())


def test_the_inbound_headers_are_told_and_none_is_required() -> None:
    headers = asyncapi()["components"]["messages"]["CallRecorded"]["headers"]
    told = Draft202012Validator(headers)
    told.validate({})
    told.validate(
        {"ce_type": "com.example.call.recorded", "ce_specversion": "1.0", "traceparent": TRACEPARENT}
    )
    assert not told.is_valid({"ce_type": "call.cleaned"})
