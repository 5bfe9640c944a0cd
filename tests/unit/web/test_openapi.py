"""The description of the HTTP interface is valid, whole, and says what is served."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.calls import CallPage
from app.web.models import CallsQuery
from app.web.openapi import openapi_document
from app.web.routes import ROUTES
from tests.support.descriptions import validate_as
from tests.unit.web.answers import rejected, summary

DOCUMENT = openapi_document(ROUTES)


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_every_route_is_described() -> None:
    assert set(DOCUMENT["paths"]) == {route.path for route in ROUTES}
    assert {
        "/",
        "/calls/{call_id}",
        "/status/{call_id}",
        "/api/v1/calls",
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
        "/openapi.json",
        "/docs",
    } <= set(DOCUMENT["paths"])


def test_names_of_operations_are_unique() -> None:
    names = [route.name for route in ROUTES]
    assert len(names) == len(set(names))


def test_parameters_are_those_that_are_parsed_with_their_bounds() -> None:
    described = {item["name"]: item for item in DOCUMENT["paths"]["/api/v1/calls"]["get"]["parameters"]}
    assert set(described) == set(CallsQuery.model_fields)
    assert described["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}
    assert described["status"]["schema"]["enum"] == [
        "queued",
        "processing",
        "cleaned",
        "failed",
        "rejected",
        "erased",
    ]
    assert all(item["description"] for item in described.values())


def every_property() -> list[Any]:
    return [
        pytest.param(prop, id=f"{name}.{key}")
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for key, prop in schema.get("properties", {}).items()
    ]


@pytest.mark.parametrize("prop", every_property())
def test_every_key_of_every_answer_has_its_meaning(prop: dict[str, Any]) -> None:
    assert prop.get("description")


def test_answers_fit_their_description() -> None:
    page = CallPage(calls=(summary(), rejected()), next_cursor=None)
    validate_as(DOCUMENT, "CallPage", page.model_dump_json())
