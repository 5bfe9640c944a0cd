"""Commands on a running service: submit, status, retry."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    import asyncpg

    from app.calls import CallDetail, CallSummary
    from app.postgres.status import StatusReader
    from app.settings import Settings

T = TypeVar("T")
_LOOK_EVERY_S = 0.3
_REPEAT_AFTER_S = 5.0
_CLOCKS_APART = timedelta(seconds=2)

Tenant = Annotated[str | None, typer.Option("--tenant", help="Whose call, where ids repeat between tenants.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command()(submit)
    cli.command()(status)
    cli.command()(retry)


def submit(
    recordings: Annotated[
        list[str], typer.Argument(help="Files, or addresses (s3://…, https://…).", show_default=False)
    ],
    tenant: Annotated[str, typer.Option(help="Whose calls.")] = "default",
    call_id: Annotated[
        str | None, typer.Option(help="Id of the call, for one recording; else made from its name.")
    ] = None,
    channels: Annotated[str | None, typer.Option(help="Roles by channel: agent,customer.")] = None,
    chain: Annotated[str | None, typer.Option(help="Name of a chain.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until every call has ended.")] = False,
) -> None:
    """Publish call.recorded for files or addresses; a file is first put into the recordings' bucket."""
    import asyncio

    from app.settings import Settings
    from app.submit import submit_recordings

    if call_id is not None and len(recordings) != 1:
        typer.echo("--call-id names one call: give one recording with it.", err=True)
        raise typer.Exit(2)
    missing = [item for item in recordings if "://" not in item and not Path(item).is_file()]
    if missing:
        typer.echo(f"No such file: {', '.join(missing)}", err=True)
        raise typer.Exit(2)
    settings = Settings()
    roles = [role.strip() for role in channels.split(",")] if channels else []
    since = datetime.now(UTC) - _CLOCKS_APART
    submitted = asyncio.run(
        submit_recordings(settings, recordings, tenant_id=tenant, call_id=call_id, roles=roles, chain=chain)
    )
    for call in submitted:
        typer.echo(call)
    if wait and not asyncio.run(_wait(settings, submitted, tenant, since)):
        raise typer.Exit(1)


def status(
    call_id: Annotated[str | None, typer.Argument(help="A call; left out: the newest calls.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many calls to list.")] = 20,
) -> None:
    """Show a call, or the newest calls."""
    from app.calls import CallFilter, LookupFailed

    if call_id is None:
        page = _ask(lambda pool: _reader(pool).list_calls(CallFilter(tenant_id=tenant, limit=limit)))
        if as_json:
            typer.echo(page.model_dump_json())
        else:
            _print_calls(page.calls)
        return
    try:
        detail = _ask(lambda pool: _reader(pool).get_call(call_id, tenant))
    except LookupFailed as error:
        typer.echo(str(error).replace("?tenant=", "--tenant"), err=True)
        raise typer.Exit(1) from None
    typer.echo(detail.model_dump_json() if as_json else _described(detail))


def retry(
    call_id: Annotated[str, typer.Argument(help="A call that failed.")],
    tenant: Tenant = None,
) -> None:
    """Give a failed call another round of attempts."""
    from app.calls import LookupFailed
    from app.postgres.claims import PostgresClaims

    async def work(pool: asyncpg.Pool[asyncpg.Record]) -> int:
        # Whose call it is must be clear first: ids may repeat between tenants.
        known = await _reader(pool).get_call(call_id, tenant)
        return await PostgresClaims(pool).another_round(call_id, tenant_id=known.tenant_id)

    try:
        queued = _ask(work)
    except LookupFailed as error:
        typer.echo(str(error).replace("?tenant=", "--tenant"), err=True)
        raise typer.Exit(1) from None
    if not queued:
        typer.echo(f"Call {call_id} has no failed result: nothing to retry.", err=True)
        raise typer.Exit(1)
    typer.echo(f"Call {call_id}: {queued} result{'s' if queued > 1 else ''} queued again.")


def _reader(pool: asyncpg.Pool[asyncpg.Record]) -> StatusReader:
    from app.postgres.status import StatusReader

    return StatusReader(pool)


def _ask(work: Callable[[asyncpg.Pool[asyncpg.Record]], Awaitable[T]]) -> T:
    import asyncio

    async def run() -> T:
        from app.postgres.pool import open_pool, translated
        from app.settings import Settings

        with translated():
            pool = await open_pool(Settings().dsn, size=2)
        async with pool:
            return await work(pool)

    return asyncio.run(run())


async def _wait(settings: Settings, call_ids: list[str], tenant: str, since: datetime) -> bool:
    """Wait until what was published after ``since`` has ended, saying how each did; whether all were cleaned."""
    import asyncio

    from agents.status import ENDED, CallStatus
    from app.postgres.pool import open_pool, translated
    from app.postgres.status import StatusReader

    with translated():
        pool = await open_pool(settings.dsn, size=2)
    started, left, well = time.monotonic(), list(call_ids), True
    async with pool:
        reader = StatusReader(pool)
        while left:
            await asyncio.sleep(_LOOK_EVERY_S)
            for call_id in list(left):
                history = await reader.call_history(call_id, tenant)
                waited_s = time.monotonic() - started
                # A repeat of a known recording makes no entry of its own: then the known one is the answer.
                ours = [entry for entry in history if entry.queued_at >= since or waited_s > _REPEAT_AFTER_S]
                if ours and ours[0].status in ENDED:
                    left.remove(call_id)
                    well &= ours[0].status == CallStatus.CLEANED
                    reason = f": {ours[0].error.message}" if ours[0].error else ""
                    print(f"{call_id} {ours[0].status} after {waited_s:.1f} s{reason}", file=sys.stderr)
    return well


def _print_calls(calls: tuple[CallSummary, ...]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("status", "call", "tenant", "received", "duration", "loudness", "attempts", "error"):
        table.add_column(heading, overflow="fold")
    for call in calls:
        table.add_row(
            Text(call.status),
            Text(call.call_id or "?"),
            Text(call.tenant_id or "?"),
            f"{call.queued_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            "" if call.duration_s is None else f"{call.duration_s:.1f} s",
            ""
            if call.before_lufs is None or call.after_lufs is None
            else f"{call.before_lufs:.1f} → {call.after_lufs:.1f} LUFS",
            str(call.attempts),
            Text(f"{call.error.code}: {call.error.message}" if call.error else ""),
        )
    Console().print(table)


def _described(detail: CallDetail) -> str:
    told = json.loads(detail.model_dump_json())
    lines = [
        f"{name:<14}{told[name]}"
        for name in ("call_id", "tenant_id", "recording_id", "status", "attempts", "queued_at")
    ]
    lines += [
        f"{name:<14}{told[name]}"
        for name in ("started_at", "finished_at", "result_id")
        if told[name] is not None
    ]
    if detail.error:
        lines.append(f"{'error':<14}{detail.error.code}: {detail.error.message}")
    lines += [f"{rendition.name:<14}{rendition.url}" for rendition in detail.renditions]
    return "\n".join(lines)
