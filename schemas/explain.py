"""Pydantic's findings put into words for the person who publishes the events."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.errors import ErrorCode, SchemaError
from schemas.ids import IDENTIFIER_PATTERN, identity_in

_SHOWN_CHARS: Final = 80
_ALSO_NAMED: Final = 3
_KEYS_MAY_FOLLOW: Final = re.compile(r"\?|://")

_PATTERNS: Final = {
    IDENTIFIER_PATTERN: "must be 1 to 128 letters, digits or . _ : @ - that begin with a letter or digit",
}

_SAID_BY_THE_MODELS: Final = frozenset({"address", "order", "time", "too_many"})
_WITHOUT_VALUE: Final = frozenset({"address", "order", "too_many", "string_too_long", "missing"})

_Context = Mapping[str, Any]
_SENTENCES: Final[dict[str, Callable[[_Context], str]]] = {
    "missing": lambda _: "is missing",
    "string_type": lambda _: "must be text",
    "string_unicode": lambda _: "must be text",
    "string_too_long": lambda context: f"must have at most {context['max_length']} characters",
    "string_too_short": lambda context: f"must have at least {context['min_length']} character",
    "string_pattern_mismatch": lambda context: _PATTERNS.get(
        context["pattern"], f"must match {context['pattern']}"
    ),
    "int_type": lambda _: "must be a whole number",
    "int_from_float": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "bool_type": lambda _: "must be true or false",
    "literal_error": lambda context: f"must be {context['expected']}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be an object",
    "model_type": lambda _: "must be an object",
}


def refused(event: Mapping[str, Any], error: ValidationError) -> SchemaError:
    """Turn what pydantic found in `event` into one sentence about the first field at fault.

    Further fields are only named. Values are shown shortened and escaped; addresses are not shown at all,
    since their query strings may hold keys.
    """
    findings = error.errors(include_url=False)
    first = findings[0]
    path = field_path(first["loc"])
    message = f"{path} {_sentence(first)}"
    others = list(dict.fromkeys(field_path(finding["loc"]) for finding in findings[1:]))
    if others:
        more = ", …" if len(others) > _ALSO_NAMED else ""
        message += f" (also at fault: {', '.join(others[:_ALSO_NAMED])}{more})"
    code: ErrorCode = "missing_field" if first["type"] == "missing" else "invalid_field"
    return SchemaError(code, message, field=path, identity=identity_in(event))


def field_path(location: Sequence[int | str]) -> str:
    """Write a place in an event as ``pauses[2].end_s`` or ``metadata["a b"]``."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step == "[key]":
            continue
        elif step.isidentifier() and step.isascii() and len(step) <= _SHOWN_CHARS:
            path += f".{step}" if path else step
        else:
            path += f"[{shown(step)}]"
    return path


def shown(value: object) -> str:
    """Write a stranger's value fit to stand in a log line: one line of ASCII, about 80 characters at most.

    Of an address, and of what follows a question mark, nothing is shown: query strings hold keys.
    """
    if isinstance(value, str):
        return _shown_text(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number out of range"
    if value is None or isinstance(value, (bool, int, float)):
        text = json.dumps(value)
        return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
    return f"a {type(value).__name__}"


def _shown_text(value: str) -> str:
    head = _KEYS_MAY_FOLLOW.split(value[:_SHOWN_CHARS], maxsplit=1)[0]
    written = json.dumps(head)[1:-1].replace("\x7f", "\\u007f")
    is_whole = len(head) == len(value) and len(written) <= _SHOWN_CHARS
    return f'"{written}"' if is_whole else f'"{written[:_SHOWN_CHARS]}…"'


def _sentence(finding: ErrorDetails) -> str:
    kind = finding["type"]
    if kind in _SAID_BY_THE_MODELS:
        sentence = finding["msg"]
    elif kind in _SENTENCES:
        sentence = _SENTENCES[kind](finding.get("ctx", {}))
    else:
        sentence = f"is not valid: {finding['msg']}"
    if kind == "string_too_long":
        return f"{sentence}, has {len(finding['input'])}"
    return sentence if kind in _WITHOUT_VALUE else f"{sentence}, got {shown(finding['input'])}"
