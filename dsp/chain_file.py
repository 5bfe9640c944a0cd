"""Reads a chain file (YAML or JSON): strict, and clear about the line and the nearest right name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dsp.chain import ChainFile, ChainSpec, RenditionSpec, TenantSpec
from dsp.errors import ChainFileError, Problem
from dsp.stages import REGISTRY

_SHIPPED = Path(__file__).parent / "chains" / "default.yaml"
_MOST_BYTES = 1 << 20
# Where keys of each kind stand: the last fixed word of the path that leads to them.
_MODELS: dict[str, type[BaseModel]] = {
    "chains": ChainSpec,
    "renditions": RenditionSpec,
    "tenants": TenantSpec,
}


def shipped_chain_file() -> ChainFile:
    """Give the chains that come with Clearcall."""
    return load_chain_file(_SHIPPED.read_text(encoding="utf-8"), origin=_SHIPPED.name)


def load_chain_file(text: str, *, origin: str) -> ChainFile:
    """Read a chain file.

    Args:
        text: YAML or JSON.
        origin: the file's name, for messages.

    Raises:
        ChainFileError: one line for each mistake, with the line number and, for a wrong name, the nearest right one.
    """
    if len(text) > _MOST_BYTES:
        raise _error(origin, 1, f"larger than {_MOST_BYTES} characters: this is no chain file.")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_duplicate_keys(node, origin)
        told = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _error(
            origin, mark.line + 1 if mark else 1, f"{getattr(error, 'problem', None) or error}."
        ) from error
    except RecursionError:
        raise _error(origin, 1, "nested too deep.") from None
    if not isinstance(told, dict):
        raise _error(origin, 1, "a chain file begins with 'version: 1' and has 'chains:'.")
    try:
        return ChainFile.model_validate(told)
    except ValidationError as error:
        problems = [Problem(_line(node, detail["loc"]), f"{_sentence(detail)}.") for detail in error.errors()]
        raise ChainFileError(origin, tuple(problems)) from error


def _error(origin: str, line: int, message: str) -> ChainFileError:
    return ChainFileError(origin, (Problem(line, message),))


def _refuse_duplicate_keys(node: yaml.Node | None, origin: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[Any, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise _error(origin, line, f"{key.value!r} stands here and on line {seen[key.value]}.")
            seen[key.value] = line
            _refuse_duplicate_keys(value, origin)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicate_keys(value, origin)


def _line(node: yaml.Node | None, path: tuple[int | str, ...]) -> int:
    """The line of the deepest node on the path that the file has."""
    line = 1
    for step in path:
        found = _step(node, step)
        if found is None:
            continue  # a step of the model, not of the file
        line, node = found
    return line


def _step(node: yaml.Node | None, step: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step or (
                isinstance(step, str) and key.value in REGISTRY and step not in _keys(node)
            ):
                return key.start_mark.line + 1, value if key.value == step else _step_into(value, step)
    return None


def _step_into(value: yaml.Node, step: int | str) -> yaml.Node:
    found = _step(value, step)
    return found[1] if found else value


def _keys(node: yaml.MappingNode) -> list[str]:
    return [key.value for key, _ in node.value]


def _sentence(detail: ErrorDetails) -> str:
    path = ".".join(str(step) for step in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        wrong = str(detail["loc"][-1])
        return f"{path}: unknown key {wrong!r}{_nearest(wrong, _known_keys(detail['loc']))}"
    if message.startswith("no stage is called"):
        wrong = (
            str(next(iter(detail["input"]))) if isinstance(detail["input"], dict) else str(detail["input"])
        )
        return f"{path}: {message}{_nearest(wrong, list(REGISTRY))}"
    if detail["type"] == "missing":
        return f"{path} is missing"
    given = "" if isinstance(detail["input"], (dict, list)) else f", got {detail['input']!r}"
    return f"{path}: {message[:1].lower()}{message[1:]}{given}"


def _known_keys(path: tuple[int | str, ...]) -> list[str]:
    if "stages" in path:
        return [key for stage in REGISTRY.values() for key in stage.model_fields]
    parents = [step for step in path[:-1] if step in _MODELS]
    model = _MODELS[str(parents[-1])] if parents else ChainFile
    return list(model.model_fields)


def _nearest(wrong: str, known: list[str]) -> str:
    near = get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
