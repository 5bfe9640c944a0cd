"""Commands on files, which need no service: clean, measure."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from app.cli.batch import Described, Manner, Outcome
    from app.cli.recordings import Found
    from dsp import ChainFile, Encoding, ResolvedChain

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
Headerless = Annotated[
    Literal["slin", "ulaw", "alaw", "gsm", "g722"] | None,
    typer.Option("--encoding", help="What files without a header hold; one with a header speaks for itself."),
]
SampleRate = Annotated[
    int | None,
    typer.Option(
        "--sample-rate",
        min=8000,
        max=48000,
        help="Of files without a header, in Hz.",
        show_default="8000; g722: 16000",
    ),
]
RawChannels = Annotated[
    int | None,
    typer.Option("--raw-channels", min=1, max=8, help="In files without a header.", show_default="1"),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="The report on standard output; of several, one a line.")
]


def register(cli: typer.Typer) -> None:
    """Add the commands."""
    cli.command()(clean)
    cli.command()(measure)


def clean(  # noqa: PLR0913  (a command line's options)
    recordings: Recordings,
    out: Out,
    *,
    chain: ChainName = None,
    chain_file: ChainPath = None,
    rendition: Renditions = None,
    channels: Channels = None,
    encoding: Headerless = None,
    sample_rate: SampleRate = None,
    raw_channels: RawChannels = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Clean recordings: denoise, level, limit. The recordings themselves are only read."""
    _one_thread_each()
    from app.cli import batch
    from app.cli.recordings import find, plan

    with _wrong_use():
        described = _described(channels, encoding, sample_rate, raw_channels)
        names = tuple(dict.fromkeys(rendition or ["listen"]))
        found = find(recordings)
        chains = _chains(chain_file)
        resolved = chains.resolve(chain=chain, named_roles=bool(described.roles))
        resolved = _in_format_of(out, resolved, names, found).only(names)
        planned = plan(found, out, resolved)
    try:
        done = _followed(
            lambda manner: batch.clean_all(planned, resolved, described, manner),
            found.recordings,
            described,
            _processes(jobs),
            as_json=as_json,
        )
    except batch.FolderError as error:
        _say(str(error))
        raise typer.Exit(_FAILED) from error
    _conclude(done, _cleaned_table, as_json=as_json)


def measure(
    recordings: Recordings,
    *,
    channels: Channels = None,
    encoding: Headerless = None,
    sample_rate: SampleRate = None,
    raw_channels: RawChannels = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
) -> None:
    """Measure recordings and change nothing."""
    _one_thread_each()
    from app.cli import batch
    from app.cli.recordings import find

    with _wrong_use():
        described = _described(channels, encoding, sample_rate, raw_channels)
        found = find(recordings)
    done = _followed(
        lambda manner: batch.measure_all(found.recordings, described, manner),
        found.recordings,
        described,
        _processes(jobs),
        as_json=as_json,
    )
    _conclude(done, _measured_table, as_json=as_json)


def _one_thread_each() -> None:
    """Keep numpy from starting threads: read when it is first imported, so called before anything of the engine is."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


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


def _described(
    channels: str | None, encoding: Any, sample_rate: int | None, raw_channels: int | None
) -> Described:
    from app.cli.batch import Described
    from app.cli.recordings import WrongUseError
    from dsp import Encoding

    if encoding is None and (sample_rate or raw_channels):
        raise WrongUseError(
            "--sample-rate and --raw-channels are for files without a header: say what they hold with --encoding."
        )
    headerless: Encoding | None = None
    if encoding is not None:
        usual_hz = 16000 if encoding == "g722" else 8000
        headerless = Encoding(encoding, sample_rate_hz=sample_rate or usual_hz, channels=raw_channels or 1)
    return Described(_roles(channels), headerless)


def _chains(chain_file: Path | None) -> ChainFile:
    from app.cli.recordings import WrongUseError, shown
    from dsp import load_chain_file, shipped_chain_file

    if chain_file is None:
        return shipped_chain_file()
    try:
        text = chain_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUseError(f"The chain file {shown(chain_file)} cannot be read: {error}.") from error
    return load_chain_file(text, origin=shown(chain_file))


def _in_format_of(out: str, chain: ResolvedChain, names: tuple[str, ...], found: Found) -> ResolvedChain:
    """Take the format from the output's name, where a single file is named: a .wav must hold a WAV.

    It is another chain then, with another digest, though it keeps its name.
    """
    from app.cli.recordings import format_of, out_is_file

    if len(names) > 1 or not out_is_file(found, out, 1):
        return chain
    asked = format_of(Path(out))
    if asked is None:
        return chain
    told = {key: value for key, value in chain.to_json().items() if key != "digest"}
    for rendition in told["renditions"]:
        if rendition["name"] in names:
            rendition["format"] = asked
    return type(chain).model_validate(told)


def _processes(jobs: int | None) -> int:
    # The cores that this process may use, which in a container are fewer than the machine has.
    return jobs or len(os.sched_getaffinity(0))


def _followed(
    begin: Callable[[Manner], Generator[Outcome, None, None]],
    recordings: Sequence[Path],
    described: Described,
    processes: int,
    *,
    as_json: bool,
) -> list[Outcome]:
    """Work, and report on each recording: progress, warnings and errors on standard error, reports as JSON."""
    from app.cli import batch, progress

    # Lines on the same terminal would run into the bar.
    shown_on = sys.stderr.isatty() and not (as_json and sys.stdout.isatty())
    several = min(processes, len(recordings)) > 1
    durations_s = batch.probed_durations_s(recordings, described) if shown_on or several else ()
    pace = progress.Pace(durations_s)
    done = []
    with progress.bar(pace, shown=shown_on) as moved:

        def ended(index: int, outcome: Outcome) -> None:
            report = outcome.report
            pace.ended(index, None if report is None else report["input"]["duration_s"])
            moved()

        def moved_within(index: int, share: float) -> None:
            pace.moved(index, share)
            moved()

        with closing(begin(batch.Manner(processes, durations_s, ended, moved_within))) as outcomes:
            for outcome in outcomes:
                _tell(outcome, as_json=as_json)
                done.append(outcome)
    return done


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    from app.cli.recordings import shown

    name = shown(outcome.recording)
    if outcome.error is not None:
        _say(f"{name}: {outcome.error}", colour=typer.colors.RED)
    elif outcome.report is not None:
        for warning in outcome.report["warnings"]:
            where = "" if warning["channel"] is None else f", channel {warning['channel']}"
            _say(f"{name}{where}: {warning['message']}", colour=typer.colors.YELLOW)
        if as_json:
            typer.echo(json.dumps(outcome.report, allow_nan=False))


def _conclude(done: list[Outcome], table: Callable[[list[dict[str, Any]]], Table], *, as_json: bool) -> None:
    """Print the table, and end with what the exit code says."""
    reports = [outcome.report for outcome in done if outcome.report is not None]
    if reports and not as_json:
        from rich.console import Console

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


def _say(text: str, colour: str | None = None) -> None:
    typer.secho(text, err=True, fg=colour)
