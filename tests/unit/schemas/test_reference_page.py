"""docs/events.md: its examples are read by the code that they describe, and no error code is missing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas import ERROR_CODES, decode, examples, json_schema

PAGE = (Path(__file__).parents[3] / "docs" / "events.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```json (\S+)\n(.*?)\n```", PAGE, flags=re.DOTALL)


def shown(name: str) -> list[Any]:
    """Give the page's examples of one event."""
    return [json.loads(text) for kind, text in EXAMPLES if kind == name]


@pytest.mark.parametrize("text", [text for kind, text in EXAMPLES if kind in ("call.recorded", "cloudevent")])
def test_every_inbound_example_is_taken(text: str) -> None:
    assert decode(text.encode("utf-8"), []).event.call_id == "c-42"


def test_every_inbound_example_fits_the_schema() -> None:
    assert len(shown("call.recorded")) == 2
    for example in shown("call.recorded"):
        Draft202012Validator(json_schema("call.recorded")).validate(example)


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("call.cleaned", examples.CLEANED),
        ("call.failed", examples.FAILED),
        ("call.rejected", examples.REJECTED),
        ("call.erased", examples.ERASED),
    ],
)
def test_every_outgoing_event_is_shown_as_the_schema_shows_it(name: str, example: dict[str, Any]) -> None:
    assert shown(name) == [example]


def test_every_error_code_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z0-9_]+)` \|", PAGE, flags=re.MULTILINE))
    assert set(ERROR_CODES) <= explained
