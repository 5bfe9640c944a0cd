"""Commands for operators: worker, migrate, topics, doctor."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.parts import PartHealth
    from app.settings import Settings


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command()(worker)
    cli.command()(migrate)
    cli.command()(topics)
    cli.command()(doctor)


def worker() -> None:
    """Run a worker against the configured services, as `faust -A app worker -l info` does."""
    from faust.cli.faust import cli as faust_cli

    from app.settings import Settings

    settings = Settings()
    for name, folder in (("DATA_DIR", settings.data_dir), ("SCRATCH_DIR", settings.scratch)):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            typer.echo(
                f"CLEARCALL_{name}: {folder} cannot be used: {error.strerror}; choose one that this user may write.",
                err=True,
            )
            raise typer.Exit(2) from None
    # Always at info or below: Faust's spinner would else set the root logger to debug.
    level = "debug" if settings.log_level == "debug" else "info"
    faust_cli(["-A", "app", "--quiet", "--datadir", str(settings.data_dir / "faust"), "worker", "-l", level])


def migrate() -> None:
    """Bring the database to this build's schema."""
    import asyncio

    from app import migrate as migrations
    from app.parts import database_address
    from app.postgres.pool import translated
    from app.settings import Settings

    settings = Settings()

    async def run() -> None:
        with translated():
            before = await migrations.current(settings.dsn)
            await migrations.upgrade(settings.dsn)
        head = migrations.head()
        done = "was at schema" if before == head else f"went from schema {before or 'none'} to"
        typer.echo(f"{database_address(settings.dsn)} {done} {head}.")

    asyncio.run(run())


def topics() -> None:
    """Create the missing topics."""
    import asyncio

    from app import kafka
    from app.settings import Settings

    settings = Settings()
    created = asyncio.run(kafka.create_topics(settings))
    for name in created:
        typer.echo(f"created {name}")
    if not created:
        typer.echo(f"all {len(kafka.TOPICS)} topics are there")


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Check each part and say what to do."""
    import asyncio

    from app.settings import Settings

    settings = Settings()
    parts = asyncio.run(_look(settings))
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps({"parts": [asdict(part) for part in parts], "settings": _masked(settings)}))
    else:
        _print(parts, settings)
    if not all(part.ok for part in parts):
        raise typer.Exit(1)


async def _look(settings: Settings) -> list[PartHealth]:
    from app.parts import check_parts, http_client, output_s3_config, source_s3_config
    from app.s3 import S3Client

    async with http_client() as http:
        return await check_parts(
            settings, S3Client(output_s3_config(settings), http), S3Client(source_s3_config(settings), http)
        )


def _print(parts: list[PartHealth], settings: Settings) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "part", "address", "seen"):
        table.add_column(heading, overflow="fold")
    for part in parts:
        mark = Text("ok", style="green") if part.ok else Text("no", style="bold red")
        table.add_row(mark, Text(part.name), Text(part.address), Text(part.detail))
    console.print(table)
    for part in parts:
        if not part.ok:
            console.print(Text.assemble((f"\n{part.name}: ", "bold"), part.what_to_do))
    console.print("\nSettings", style="bold")
    for name, value in _masked(settings).items():
        shown = json.dumps(value) if isinstance(value, dict) else value
        console.print(Text(f"  CLEARCALL_{name.upper()}={shown}"), soft_wrap=True)
    if not settings.sources:
        console.print(
            Text(
                "\nCLEARCALL_SOURCES is empty: no tenant may name any recording, every call will fail.",
                style="yellow",
            )
        )


def _masked(settings: Settings) -> dict[str, Any]:
    """The settings as they are in force, secrets as stars."""
    from app.parts import database_address

    told = settings.model_dump(mode="json")
    told["postgres_dsn"] = f"postgresql://***@{database_address(settings.dsn)}"
    return {name: value for name, value in told.items() if value is not None}
