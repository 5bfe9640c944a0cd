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
    from pydantic import ValidationError

    from agents.errors import Outage
    from dsp import ChainFileError
    from schemas import SchemaError

    # Its own lines, about each try, would come between ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    try:
        build()()
    except Outage as outage:
        _say(f"{outage.part}: {outage.detail}. `clearcall doctor` looks at every part.")
        sys.exit(EXIT_FAILED)
    except (ChainFileError, SchemaError) as error:
        _say(str(error))
        sys.exit(EXIT_WRONG_USE)
    except ValidationError as error:
        if error.title != "Settings":
            raise
        for detail in error.errors():
            name = f"CLEARCALL_{str(detail['loc'][0]).upper()}: " if detail["loc"] else ""
            _say(f"{name}{detail['msg'].removeprefix('Value error, ')}")
        sys.exit(EXIT_WRONG_USE)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
