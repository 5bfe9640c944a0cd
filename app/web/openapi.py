"""The description of the HTTP interface (OpenAPI 3.1), made from the routes and models that serve it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from app.web.context import Content, Route
from app.web.models import Query
from schemas import IDENTIFIER_PATTERN

_REF = "#/components/schemas/{model}"
_PATH_PARAMETERS = {
    "call_id": ("The call's id.", {"type": "string", "pattern": IDENTIFIER_PATTERN}),
}


def openapi_document(routes: Sequence[Route]) -> dict[str, Any]:
    """Describe the routes."""
    models = {content.model for route in routes for content in route.answers.values() if content.model}
    refs, definitions = models_json_schema(
        [(model, "serialization") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_REF,
    )
    schema_of: dict[Any, dict[str, Any]] = {model: schema for (model, _), schema in refs.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clearcall",
            "version": version("clearcall"),
            "description": "Where each call is, and what was measured on it. Keys may be added to answers at any time.",
        },
        "paths": {route.path: {"get": _operation(route, schema_of)} for route in routes},
        "components": {"schemas": definitions["$defs"]},
    }


def _operation(route: Route, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    return {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.query)],
        "responses": {
            str(status): {"description": content.meaning, "content": _content(content, schema_of)}
            for status, content in route.answers.items()
        },
    }


def _content(content: Content, schema_of: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    return {content.media_type: {"schema": schema_of[content.model]} if content.model else {}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_PARAMETERS[name][0],
            "schema": _PATH_PARAMETERS[name][1],
        }
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _query_parameters(query: type[Query] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    schema = query.model_json_schema(ref_template=_REF)
    definitions = schema.get("$defs", {})
    parameters = []
    for name, described in schema["properties"].items():
        meaning = described.pop("description", "")
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": meaning,
                "schema": _plain(described, definitions),
            }
        )
    return parameters


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema by itself: an absent one is simply left out, so null is no value of it."""
    kinds = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
    merged = {**schema, **(kinds[0] if kinds else {})}
    reference = merged.pop("$ref", None)
    if reference is not None:
        merged = {**definitions[reference.rpartition("/")[2]], **merged}
    if merged.get("default", "") is None:
        del merged["default"]
    return {name: value for name, value in merged.items() if name not in ("title", "description")}
