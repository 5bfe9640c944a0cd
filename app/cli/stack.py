"""Commands that bring their own broker, database and object store: up, demo."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from app.demo import DemoCall
    from app.embedded import EmbeddedService

_UP_DATA = Path(".clearcall/data")
_DEMO_DATA = Path(".clearcall/demo")
_INTERRUPTED = 130
# Wide enough for the demo's table where there is no terminal to ask.
_FILE_COLUMNS = 140


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command()(up)
    cli.command()(demo)


def up(
    data: Annotated[
        Path, typer.Option(help="Where everything is kept; starting again goes on with it.")
    ] = _UP_DATA,
    env_file: Annotated[
        Path | None,
        typer.Option(help="Receives the CLEARCALL_* settings once all is ready; removed at the end."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the pages.")] = 6066,
) -> None:
    """Run broker, database, object store and a worker from Python packages alone, until Ctrl-C.

    For trying out and for development: the broker keeps nothing when it stops, and serves this one worker.
    """
    from app.embedded import EmbeddedService, EmbeddedStack

    console = _console()
    service = EmbeddedService(
        EmbeddedStack(data),
        port=port,
        worker_log=False,
        tell=lambda step: console.print(f"{step} ...", style="dim", highlight=False),
    )
    _end(_interruptible(lambda run: _up(service, env_file, console, run), service))


def demo(
    recordings: Annotated[
        Path | None, typer.Option(help="A folder of your own recordings; left out: the six example calls.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Stay up at the end also where the output is no terminal.")
    ] = False,
) -> None:
    """Send example calls through an embedded stack and show what became of them.

    Each demo starts afresh in .clearcall/demo; what the last one left there is removed.
    """
    from app.demo import calls_in, example_calls
    from app.embedded import EmbeddedService, EmbeddedStack

    console = _console()

    async def work(run: _Run) -> int:
        calls = calls_in(recordings) if recordings else example_calls()
        return await _demo(service, calls, console, run, stay=keep or console.is_terminal)

    service = EmbeddedService(
        EmbeddedStack(_DEMO_DATA, recordings=recordings, fresh=True),
        port=None,
        worker_log=True,
        tell=lambda step: console.print(f"{step} ...", style="dim", highlight=False),
    )
    _end(_interruptible(work, service))


@dataclass
class _Run:
    """What a signal means now: an exit status for being stopped."""

    status_if_stopped: int = _INTERRUPTED


async def _up(service: EmbeddedService, env_file: Path | None, console: Console, run: _Run) -> int:
    async with service:
        run.status_if_stopped = 0
        try:
            if env_file is not None:
                service.write_env_file(env_file)
            _print_places(service, env_file, console)
            return await _until_ended(service)
        finally:
            # Its addresses mean nothing any more. Only who holds the data folder gets here: the file is our own.
            if env_file is not None:
                env_file.unlink(missing_ok=True)  # noqa: ASYNC240  (the last thing this loop does)


async def _demo(
    service: EmbeddedService, calls: list[DemoCall], console: Console, run: _Run, *, stay: bool
) -> int:
    from app.demo import told_path

    async with service:
        status = await _cleaned(service, calls, console)
        kept = told_path(service.stack.data, Path.cwd())
        console.print(f"\nStatus page   [bold]{service.url}[/bold]", highlight=False)
        console.print(f"Files, logs   {kept}, until the next demo", highlight=False)
        if stay:
            run.status_if_stopped = status
            console.print("\nIt stays up until Ctrl-C.", style="green")
            return await _until_ended(service)
        console.print(
            "\nThe output is no terminal, so it ends here; `clearcall demo --keep` stays up.", style="dim"
        )
    return status


async def _cleaned(service: EmbeddedService, calls: list[DemoCall], console: Console) -> int:
    """Send the calls through and print the table; answers the exit status. Raises DemoError."""
    import asyncio

    from app.demo import DemoError, link_outputs, print_results, send_and_follow

    settings = service.settings()
    sending = asyncio.create_task(send_and_follow(settings, calls, console))
    ending = asyncio.create_task(service.ended())
    try:
        await asyncio.wait((sending, ending), return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            _, why = ending.result()
            raise DemoError(why)
        rows = sending.result()
    finally:
        sending.cancel()
        ending.cancel()
    stack = service.stack
    results = await link_outputs(settings, rows, bucket=stack.outputs, links=stack.data / "outputs")
    console.print()
    print_results(console, results, base=Path.cwd())
    return 0 if all(result.output for result in results) else 1


async def _until_ended(service: EmbeddedService) -> int:
    """Wait until the worker or a part ends by itself, say so, and answer the exit status."""
    status, why = await service.ended()
    typer.echo(why, err=True)
    return status


def _print_places(service: EmbeddedService, env_file: Path | None, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from app.parts import database_address

    settings = service.settings()
    places = {
        "status page": service.url,
        "broker": f"{settings.kafka_bootstrap}, volatile (it keeps nothing when it stops) and for this one worker",
        "database": database_address(settings.dsn),
        "object store": f"{settings.s3_endpoint}, recordings in {settings.source_s3_bucket}, "
        f"outputs in {settings.s3_bucket}",
        "data, logs": str(service.stack.data),
        "settings": f"set -a; . {env_file}; set +a"
        if env_file
        else "--env-file FILE writes them for other commands",
    }
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for name, place in places.items():
        table.add_row(Text(name, style="bold"), Text(place, overflow="fold"))
    console.print()
    console.print(table)
    console.print("\nReady. Ctrl-C stops it.", style="green")


async def _interruptible(work: Callable[[_Run], Coroutine[Any, Any, int]], service: EmbeddedService) -> int:
    """Do the work until it is done or a signal says to stop; a second signal ends the worker at once."""
    import asyncio

    run = _Run()
    stopping = False
    task = asyncio.ensure_future(work(run))

    def on_signal() -> None:
        nonlocal stopping
        if stopping:
            service.kill_worker()
        else:
            stopping = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopping:
            raise
        return run.status_if_stopped


def _end(coming: Coroutine[Any, Any, int]) -> None:
    """Run to the end and exit; what went wrong is told in words."""
    import asyncio

    from app.demo import DemoError
    from app.embedded import EmbeddedError

    try:
        status = asyncio.run(coming)
    except (EmbeddedError, DemoError) as error:
        typer.echo(str(error), err=True)
        status = 1
    raise typer.Exit(status)


def _console() -> Console:
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=_FILE_COLUMNS)
