"""docs/chains.md is what the models say."""

from __future__ import annotations

from pathlib import Path

from dsp.reference import page
from dsp.stages import REGISTRY


def test_the_page_is_up_to_date() -> None:
    """If not: ``python -m dsp.reference > docs/chains.md``."""
    written = (Path(__file__).parents[3] / "docs" / "chains.md").read_text(encoding="utf-8")
    assert written == page()


def test_every_stage_has_its_options_told() -> None:
    for name, stage in REGISTRY.items():
        section = page().split(f"### `{name}`\n")[1].split("###")[0]
        assert all(f"| `{option}` |" in section for option in stage.model_fields)
