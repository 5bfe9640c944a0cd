"""The text of a chain file, YAML or JSON, as plain values that know the line they stand on."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from dsp.errors import ChainFileError, Problem

Path = tuple[str | int, ...]
"""Keys and indexes from the top of the document to a value."""

_MOST_CHARACTERS: Final = 256 * 1024
_MOST_NODES: Final = 20_000


class _Loader(yaml.SafeLoader):
    """YAML 1.1's safe types, and numbers as JSON writes them: 1e3 is a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^-?\d+(\.\d+)?[eE][-+]?\d+$"), list("-0123456789")
)


@dataclass
class Document:
    """What a file says, and where."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    """From 1; of each key and list entry."""

    def line(self, path: Path) -> int:
        """Where a value stands, or the nearest thing around it that is written down."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 1


def read(text: str, *, origin: str) -> Document:
    """Read YAML or JSON.

    Raises
    ------
    ChainFileError
        It is neither, or a key stands twice in one place.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ChainFileError(origin, (Problem(1, f"is longer than {_MOST_CHARACTERS} characters."),))
    try:
        return _document(text, origin)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ChainFileError(
            origin, (Problem(line, f"is neither YAML nor JSON: {error.problem}."),)
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ChainFileError(origin, (Problem(1, f"is neither YAML nor JSON: {reason}."),)) from None
    except RecursionError:
        raise ChainFileError(origin, (Problem(1, "is nested too deep."),)) from None


def _document(text: str, origin: str) -> Document:
    # A tab that JSON allows between tokens is an error to YAML; inside JSON's strings there is none.
    loader = _Loader(text.replace("\t", " ") if text.lstrip().startswith("{") else text)
    try:
        root = loader.get_single_node()
        document = Document(lines={(): 1})
        if root is not None:
            document.value = _Reader(loader, document, origin).value(root, ())
    finally:
        loader.dispose()
    return document


class _Reader:
    """Turns nodes into values and notes their lines."""

    def __init__(self, loader: _Loader, document: Document, origin: str) -> None:
        self._loader = loader
        self._document = document
        self._origin = origin
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:  # aliases of aliases
            self._refuse(node, f"has more than {_MOST_NODES} values.")
        if isinstance(node, yaml.MappingNode):
            return dict(self._entries(node, path))
        if isinstance(node, yaml.SequenceNode):
            return [self._entry(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._loader.construct_object(node)

    def _entry(self, node: yaml.Node, path: Path) -> Any:
        self._document.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _entries(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[Hashable, Any]]:
        seen: dict[Hashable, int] = {}
        for key_node, value_node in node.value:
            key = self._loader.construct_object(key_node)
            if not isinstance(key, str):
                self._refuse(
                    key_node, f"has the key `{key_node.value}`, which is not text; put it in quotes."
                )
            if key in seen:
                self._refuse(key_node, f"has the key `{key}` twice; the first stands on line {seen[key]}.")
            seen[key] = key_node.start_mark.line + 1
            self._document.lines[(*path, key)] = seen[key]
            yield key, self.value(value_node, (*path, key))

    def _refuse(self, node: yaml.Node, message: str) -> None:
        raise ChainFileError(self._origin, (Problem(node.start_mark.line + 1, message),))
