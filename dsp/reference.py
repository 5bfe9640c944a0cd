"""Writes docs/chains.md: what a chain file may say, read from the models that check it.

``python -m dsp.reference > docs/chains.md``; a test compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

from dsp.chain import ChainFile, ChainSpec, RenditionSpec, TenantSpec
from dsp.chain_file import shipped_chain_text
from dsp.stages import REGISTRY
from dsp.stages.base import Strict

_OPENING: Final = """\
# Chain files

A chain says what is done to a recording. `CLEARCALL_CHAIN_FILE` names the file, YAML or JSON; without it the one that
comes with Clearcall holds. Stages run in the order of this page, each at most once. All that is not written down here
is refused, with the line and the nearest right name.
"""


def page() -> str:
    """Give the page, in Markdown."""
    parts = [_OPENING, "## What comes with Clearcall\n", f"```yaml\n{shipped_chain_text().strip()}\n```\n"]
    for title, model in (
        ("The file", ChainFile),
        ("A chain", ChainSpec),
        ("A rendition", RenditionSpec),
        ("A tenant", TenantSpec),
    ):
        parts += [f"## {title}\n", _table(model)]
    parts.append("## Stages\n")
    for name, stage in REGISTRY.items():
        parts += [f"### `{name}`\n", f"{_prose(stage.__doc__ or '')}\n", _table(stage)]
    return "\n".join(parts).rstrip() + "\n"


def _table(model: type[Strict]) -> str:
    rows = "\n".join(_rows(model))
    return f"| key | default | meaning |\n| --- | --- | --- |\n{rows}\n" if rows else "It has no options.\n"


def _rows(model: type[Strict]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        yield f"| `{name}` | {default} | {_prose(field.description or '')} |"


def _shown(default: Any) -> str:
    if default is None:
        return "left out"
    if isinstance(default, (dict, tuple)):
        return "none" if not default else f"`{'`, `'.join(map(str, default))}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _prose(text: str) -> str:
    """Docstrings on one line a paragraph, in Markdown's own marks for code."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
    return "\n\n".join(paragraphs).replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(page())
