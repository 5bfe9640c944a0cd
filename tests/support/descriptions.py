"""Checks an answer against the published description."""

from __future__ import annotations

import json
from typing import Any

from jsonschema import Draft202012Validator


def validate_as(document: dict[str, Any], name: str, text: str | bytes) -> Any:
    """Validate JSON as the schema ``name`` of an OpenAPI document; gives the value."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    value = json.loads(text)
    Draft202012Validator(schema).validate(value)
    return value
