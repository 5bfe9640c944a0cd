"""Commands on files, which need no service: clean, measure."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from app.cli.batch import Outcome
    from dsp import ResolvedChain

_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_FAILED, _WRONG_USE = 1, 2
_WIDE = 400

Recordings = Annotated[
    list[str],
    typer.Argument(
        metavar="IN…", help="Recordings: files, folders, patterns such as 'calls/*.wav'.", show_default=False
    ),
]
Out = Annotated[
    str, typer.Option("--out", "-o", help="A file for one recording, else a folder.", show_default=False)
]
ChainName = Annotated[
    str | None, typer.Option("--chain", help="Name of a chain.", show_default="the chain file's default")
]
ChainPath = Annotated[
    Path | None,
    typer.Option(
        "--chain-file",
        help="YAML or JSON.",
        exists=True,
        dir_okay=False,
        envvar="CLEARCALL_CHAIN_FILE",
        show_default="shipped",
    ),
]
Renditions = Annotated[
    list[str] | None,
    typer.Option(
        "--rendition", help="An output of the chain; give it again for several.", show_default="listen"
    ),
]
Channels = Annotated[
    str | None, typer.Option(help="Roles by channel: agent,customer. Each party is levelled alone.")
]
Jobs = Annotated[int | None, typer.Option(min=1, help="How many recordings at a time.", show_default="cores")]
AsJson = Annotated[
    bool, typer.Option("--json", help="The report on standard output; of several, one a line.")
]


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command()(clean)
    cli.command()(measure)


def clean(
    recordings: Recordings,
    out: Out,
    *,
    chain: ChainName = None,
    chain_file: ChainPath = None,
    rendition: Renditions = None,
    channels: Channels = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Clean recordings: denoise, level, limit. The recordings themselves are only read."""
    from app.cli import batch
    from app.cli.recordings import find, plan

    with _wrong_use():
        roles = _roles(channels)
        names = tuple(dict.fromkeys(rendition or ["listen"]))
        found = find(recordings)
        resolved = _resolved(chain_file, chain, names, named_roles=bool(roles))
        resolved = _in_format_of(out, resolved, found)
        planned = plan(found, out, resolved)
    try:
        with closing(batch.clean_all(planned, resolved, roles, _processes(jobs))) as outcomes:
            done = _followed(outcomes, len(planned), as_json=as_json)
    except batch.FolderError as error:
        _say(str(error))
        raise typer.Exit(_FAILED) from error
    _conclude(done, _cleaned_table, as_json=as_json)


def measure(
    recordings: Recordings,
    *,
    channels: Channels = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Measure recordings and change nothing."""
    from app.cli import batch
    from app.cli.recordings import find

    with _wrong_use():
        roles = _roles(channels)
        found = find(recordings)
    with closing(batch.measure_all(found.recordings, roles, _processes(jobs))) as outcomes:
        done = _followed(outcomes, len(found.recordings), as_json=as_json)
    _conclude(done, _measured_table, as_json=as_json)


@contextmanager
def _wrong_use() -> Iterator[None]:
    from app.cli.recordings import WrongUseError
    from dsp import ChainFileError, UnknownChain, UnknownRendition

    try:
        yield
    except (WrongUseError, ChainFileError, UnknownChain, UnknownRendition) as error:
        _say(str(error))
        raise typer.Exit(_WRONG_USE) from error


def _roles(channels: str | None) -> tuple[str, ...]:
    from app.cli.recordings import WrongUseError

    roles = tuple(role.strip() for role in channels.split(",")) if channels else ()
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise WrongUseError(f"--channels: {role!r} is not a role; write them as in agent,customer.")
    return roles


def _resolved(
    chain_file: Path | None, chain: str | None, renditions: tuple[str, ...], *, named_roles: bool
) -> ResolvedChain:
    from app.cli.recordings import WrongUseError, shown
    from dsp import load_chain_file, shipped_chain_file

    if chain_file is None:
        chains = shipped_chain_file()
    else:
        try:
            text = chain_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUseError(f"The chain file {shown(chain_file)} cannot be read: {error}.") from error
        chains = load_chain_file(text, origin=shown(chain_file))
    return chains.resolve(chain=chain, named_roles=named_roles).only(renditions)


def _in_format_of(out: str, chain: ResolvedChain, found: Any) -> ResolvedChain:
    """Take the format from the output's name, where a single file is named: a .wav must hold a WAV."""
    from app.cli.recordings import format_of, out_is_file

    if len(chain.renditions) > 1 or not out_is_file(found, out, 1):
        return chain
    asked = format_of(Path(out))
    if asked in (None, chain.renditions[0].format):
        return chain
    told = chain.to_json()
    told["renditions"][0]["format"] = asked
    return type(chain).from_json(told)


def _processes(jobs: int | None) -> int:
    # The cores that this process may use, which in a container are fewer than the machine has.
    return jobs or len(os.sched_getaffinity(0))


def _followed(outcomes: Iterable[Outcome], count: int, *, as_json: bool) -> list[Outcome]:
    """Report on each recording as it is done: progress, warnings and errors on standard error, reports as JSON."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from app.cli.recordings import shown

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Lines on the same terminal would run into the bar.
    quiet = not console.is_terminal or (as_json and sys.stdout.isatty())
    done = []
    with Progress(
        *columns, console=console, transient=True, disable=quiet, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        bar = progress.add_task("recordings", total=count)
        for outcome in outcomes:
            name = shown(outcome.recording)
            if outcome.error is not None:
                console.print(Text(f"{name}: {outcome.error}", style="red"))
            elif outcome.report is not None:
                for warning in outcome.report["warnings"]:
                    where = "" if warning["channel"] is None else f", channel {warning['channel']}"
                    console.print(Text(f"{name}{where}: {warning['message']}", style="yellow"))
                if as_json:
                    typer.echo(json.dumps(outcome.report, allow_nan=False))
            progress.advance(bar)
            done.append(outcome)
    return done


def _conclude(done: list[Outcome], table: Callable[[list[dict[str, Any]]], Table], *, as_json: bool) -> None:
    """Print the table, and end with what the exit code says."""
    from rich.console import Console

    reports = [outcome.report for outcome in done if outcome.report is not None]
    if reports and not as_json:
        # Where nobody looks, nothing is to be broken over lines.
        width = None if sys.stdout.isatty() else _WIDE
        Console(highlight=False, width=width).print(table(reports))
    failed = len(done) - len(reports)
    if failed and len(done) > 1:
        _say(f"{failed} of {len(done)} recordings failed.")
    if failed:
        raise typer.Exit(_FAILED)


def _cleaned_table(reports: list[dict[str, Any]]) -> Table:
    table = _table("recording", "seconds>", "LUFS>", "noise dBFS>", "output")
    for report in reports:
        for rendition in report["renditions"]:
            before, after = report["before"], rendition["after"]
            table.add_row(
                _name(Path(report["input"]["path"]).name),
                _number(report["input"]["duration_s"]),
                f"{_loudness(before)} → {_loudness(after)}",
                f"{_noise_floor(before)} → {_noise_floor(after)}",
                _name(rendition["path"]),
            )
    return table


def _measured_table(reports: list[dict[str, Any]]) -> Table:
    table = _table(
        "recording",
        "seconds>",
        "channel",
        "LUFS>",
        "dBTP>",
        "speech dBFS>",
        "noise dBFS>",
        "SNR dB>",
        "clipped>",
    )
    for report in reports:
        for channel in report["before"]["channels"]:
            levels = ("integrated_lufs", "true_peak_dbtp", "speech_level_dbfs", "noise_floor_dbfs", "snr_db")
            first = channel["index"] == 0
            table.add_row(
                _name(Path(report["input"]["path"]).name) if first else "",
                _number(report["input"]["duration_s"]) if first else "",
                " ".join([str(channel["index"]), *filter(None, [channel["role"]])]),
                *(_number(channel[level]) for level in levels),
                str(channel["clipped_samples"]),
            )
    return table


def _table(*headings: str) -> Table:
    """Start a table; a heading that ends in ``>`` is that of numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(
            heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", overflow="fold"
        )
    return table


def _name(path: str) -> Any:
    from rich.text import Text

    from app.cli.recordings import shown

    return Text(shown(Path(path)))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _loudness(measured: dict[str, Any]) -> str:
    return _number(measured["programme"]["integrated_lufs"])


def _noise_floor(measured: dict[str, Any]) -> str:
    """The noisiest channel's: it is the one that is heard."""
    floors = [channel["noise_floor_dbfs"] for channel in measured["channels"]]
    return _number(max((floor for floor in floors if floor is not None), default=None))


def _say(text: str) -> None:
    typer.echo(text, err=True)
