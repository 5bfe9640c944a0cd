"""Clearcall's composition root: settings, adapters, pages, command line.

``faust -A app worker -l info`` finds the Faust application as ``app.app``: it is built when first asked for, so that
importing ``app.settings`` builds nothing.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import faust


@cache
def _faust_app() -> faust.App:
    from app.compose import create_app

    return create_app()


def __getattr__(name: str) -> Any:
    if name == "app":
        return _faust_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
