"""The command line: one module for each group of commands; each imports what it needs when it runs."""

from __future__ import annotations

import logging
import sys

import typer

from app.cli import events, files, operate, service, stack

EXIT_FAILED, EXIT_WRONG_USE = 1, 2


def build() -> typer.Typer:
    """Build the command line."""
    cli = typer.Typer(
        name="clearcall",
        help="Cleans call recordings: denoise, loudness-normalize and true-peak-limit.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in (files, stack, operate, service, events):
        group.register(cli)
    return cli


def main() -> None:
    """Run the command line; what went wrong is one sentence, not a traceback."""
    # Its own lines, about each try, would come between ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        build()()
    except Exception as error:
        status = _status_of(error)
        if status is None:
            raise
        sys.exit(status)


def _status_of(error: Exception) -> int | None:
    """Say in words what went wrong, and answer the exit status; None: it is a fault of ours."""
    # Here, not above: most commands end well, and need not wait for these.
    from pydantic import ValidationError

    from agents.errors import Outage
    from dsp import ChainFileError
    from schemas import SchemaError

    if isinstance(error, Outage):
        _say(f"{error.part}: {error.detail}. `clearcall doctor` looks at every part.")
        return EXIT_FAILED
    if isinstance(error, ChainFileError | SchemaError):
        _say(str(error))
        return EXIT_WRONG_USE
    if isinstance(error, ValidationError) and error.title == "Settings":
        for detail in error.errors():
            name = f"CLEARCALL_{str(detail['loc'][0]).upper()}: " if detail["loc"] else ""
            _say(f"{name}{detail['msg'].removeprefix('Value error, ')}")
        return EXIT_WRONG_USE
    return None


def _say(text: str) -> None:
    print(text, file=sys.stderr)
