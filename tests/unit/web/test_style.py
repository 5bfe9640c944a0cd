"""Colours that people can read (WCAG 2.2, 1.4.3), in both schemes; pages that need nobody else's server."""

import re
from importlib.resources import files

import pytest

STATIC = files("app.web") / "static"
CSS = (STATIC / "app.css").read_text(encoding="utf-8")
SCRIPT = (STATIC / "app.js").read_text(encoding="utf-8")
_AA = 4.5


def palettes() -> dict[str, dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--(\w[\w-]*): (#[0-9a-f]{6});", block)) for block in CSS.split(":root")[1:3]
    )
    return {"light": light, "dark": {**light, **dark}}


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "grounds"),
    [
        ("ink", ("paper", "sheet", "sunk", "tint", "bad-tint")),
        ("soft", ("paper", "sheet", "sunk", "tint")),
        ("accent", ("paper", "sheet", "sunk")),
        ("bad", ("paper", "sunk", "bad-tint")),
    ],
)
def test_text_stands_out_from_its_ground(scheme: str, ink: str, grounds: tuple[str, ...]) -> None:
    palette = palettes()[scheme]
    for ground in grounds:
        assert contrast(palette[ink], palette[ground]) >= _AA, f"{ink} on {ground}"


def test_nothing_is_fetched_from_elsewhere() -> None:
    assert "http" not in CSS.replace("http-equiv", "")
    assert "@import" not in CSS
    assert "url(" not in CSS
    assert "http" not in SCRIPT


def test_the_script_writes_no_strangers_text_as_markup() -> None:
    assert re.findall(r"innerHTML = (.+);", SCRIPT) == [
        '\'<span class="dot"></span><span class="words"></span>\''
    ]
    assert "eval(" not in SCRIPT
