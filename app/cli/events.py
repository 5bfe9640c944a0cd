"""Commands about events: schema, rejected."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

if TYPE_CHECKING:
    from app.postgres.rejected import RejectedEvents
    from app.settings import Settings

T = TypeVar("T")

rejected = typer.Typer(name="rejected", help="Events that could not become a call.", no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command()(schema)
    cli.add_typer(rejected)


def schema(
    name: Annotated[
        str | None, typer.Argument(help="An event's name, or asyncapi; left out: what there is.")
    ] = None,
    topic_prefix: Annotated[str, typer.Option(help="Prefix of the topics in the AsyncAPI document.")] = "",
) -> None:
    """Print an event's JSON Schema, or the AsyncAPI document."""
    from schemas import SCHEMA_NAMES, asyncapi, json_schema

    if name is None:
        for known in (*SCHEMA_NAMES, "asyncapi"):
            typer.echo(known)
    elif name == "asyncapi":
        typer.echo(json.dumps(asyncapi(topic_prefix), indent=2))
    elif name in SCHEMA_NAMES:
        typer.echo(json.dumps(json_schema(name), indent=2))
    else:
        typer.echo(
            f"No schema is called {name!r}; there are {', '.join((*SCHEMA_NAMES, 'asyncapi'))}.", err=True
        )
        raise typer.Exit(2)


@rejected.command("list")
def list_rejected(
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """List the newest rejected events."""
    found = _run(lambda events, _: events.newest(limit))
    if as_json:
        typer.echo(json.dumps([event.to_json() for event in found]))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("id", "rejected", "call", "where", "why"):
        table.add_column(heading, overflow="fold")
    for event in found:
        table.add_row(
            str(event.rejected_id),
            f"{event.rejected_at:%Y-%m-%d %H:%M:%S}",
            Text(event.call_id or "?"),
            Text(f"{event.topic}/{event.partition}/{event.offset}"),
            Text(f"{event.error_code}: {event.error_message}{' (replayed)' if event.replayed_at else ''}"),
        )
    Console().print(table)
    if not found:
        typer.echo("No event was rejected.", err=True)


@rejected.command("show")
def show_rejected(
    rejected_id: Annotated[UUID, typer.Argument(help="Its id, as `rejected list` shows it.")],
    raw: Annotated[bool, typer.Option("--raw", help="The original bytes alone, as they came.")] = False,
) -> None:
    """Show a rejected event with its original bytes (base64 in the JSON; as they came with --raw)."""
    event = _run(lambda events, _: events.get(rejected_id))
    if event is None:
        typer.echo(f"No rejected event has the id {rejected_id}.", err=True)
        raise typer.Exit(1)
    if raw:
        sys.stdout.buffer.write(event.raw or b"")
    else:
        typer.echo(json.dumps(event.to_json(), indent=2))


@rejected.command("replay")
def replay_rejected(
    rejected_id: Annotated[UUID, typer.Argument(help="Its id, as `rejected list` shows it.")],
) -> None:
    """Decode the bytes again, after a fix, and queue the call if they are understood now."""
    from agents.errors import ConflictingDuplicate, Unstorable
    from dsp import UnknownChain
    from schemas import SchemaError

    async def run(events: RejectedEvents, settings: Settings) -> str | None:
        from app.services import load_chains

        return await events.replay(rejected_id, load_chains(settings))

    try:
        result = _run(run)
    except (SchemaError, UnknownChain, ConflictingDuplicate, Unstorable) as error:
        typer.echo(f"Still rejected: {error}", err=True)
        raise typer.Exit(1) from None
    if result is None:
        typer.echo(f"No rejected event has the id {rejected_id}.", err=True)
        raise typer.Exit(1)
    typer.echo(result)


def _run(work: Callable[[RejectedEvents, Settings], Awaitable[T]]) -> T:
    import asyncio

    from app.postgres.pool import open_pool, translated
    from app.postgres.rejected import RejectedEvents
    from app.settings import Settings

    async def run() -> T:
        settings = Settings()
        with translated():
            pool = await open_pool(settings.dsn, size=2)
        async with pool:
            return await work(RejectedEvents(pool), settings)

    return asyncio.run(run())
