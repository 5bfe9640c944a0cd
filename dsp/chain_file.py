"""Reads a chain file (YAML or JSON): strict, and clear about the line and the nearest right name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dsp.chain import ChainFile
from dsp.chain_text import Document, read
from dsp.errors import ChainFileError, Problem

_SHIPPED: Final = Path(__file__).parent / "chains" / "default.yaml"


def shipped_chain_file() -> ChainFile:
    """Give the chains that come with Clearcall."""
    return load_chain_file(shipped_chain_text(), origin=_SHIPPED.name)


def shipped_chain_text() -> str:
    """Give the file that they stand in."""
    return _SHIPPED.read_text(encoding="utf-8")


def load_chain_file(text: str, *, origin: str) -> ChainFile:
    """Read a chain file.

    Parameters
    ----------
    text
        YAML or JSON.
    origin
        The file's name, for messages.

    Raises
    ------
    ChainFileError
        One line for each mistake, with the line number and, for a wrong name, the nearest right one.
    """
    document = read(text, origin=origin)
    if not isinstance(document.value, dict):
        raise ChainFileError(origin, (Problem(1, "A chain file begins with `version: 1` and has `chains`."),))
    try:
        return ChainFile.model_validate(document.value)
    except ValidationError as error:
        problems = [_problem(details, document) for details in error.errors(include_url=False)]
        raise ChainFileError(origin, tuple(sorted(problems, key=lambda problem: problem.line))) from None


def _problem(details: ErrorDetails, document: Document) -> Problem:
    within = tuple(step for step in details["loc"] if step != "[key]")
    path = within + tuple(details.get("ctx", {}).get("at") or ())
    message = f"{'.'.join(str(step) for step in within)}: {_message(details)}".removeprefix(": ")
    return Problem(document.line(path), message if message.endswith("?") else f"{message}.")


def _message(details: ErrorDetails) -> str:
    kind, context, told = details["type"], details.get("ctx", {}), f"{details['input']!r:.80}"
    if kind == "missing":
        return "is missing"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    if kind == "literal_error":
        near = get_close_matches(
            told.strip("'"), context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        )
        return f"must be {context['expected']}, not {told}" + (f"; did you mean `{near[0]}`?" if near else "")
    if details["msg"].startswith("Input should be"):
        return (
            details["msg"]
            .replace("Input should be", "must be")
            .replace("valid dictionary", "mapping")
            .split(" or instance")[0]
            + f", not {told}"
        )
    return details["msg"][:1].lower() + details["msg"][1:]
