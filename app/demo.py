"""Sends example calls, or a folder of recordings, through a running service and shows what became of them."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from agents.status import ENDED, CallStatus
from app.calls import MAX_PAGE_CALLS, CallFilter, CallSummary, Cursor
from app.parts import http_client, source_s3_config
from app.postgres.pool import open_pool
from app.postgres.status import StatusReader
from app.recording_names import SUFFIXES, is_recording
from app.s3 import S3Client
from app.settings import Settings
from app.submit import located, publish
from schemas import DEFAULT_TENANT_ID

EXAMPLES = Path(__file__).parents[1] / "examples"
_LOOK_EVERY_S = 0.25
# Of everything: the longest call that is accepted takes a fraction of this.
_NOTHING_MOVES_S = 1800.0
_MAX_ID_CHARS = 100
# A path is told whole; a reason longer than this may be wrapped.
_OUTCOME_COLUMNS = 70
_VERY_WIDE = 1000


class DemoError(Exception):
    """The demo cannot begin or go on; the message says why and what to do."""


@dataclass(frozen=True)
class DemoCall:
    """A recording on disk, and its call.recorded event without the recording's address."""

    path: Path
    event: dict[str, Any] = field(hash=False)

    @property
    def call_id(self) -> str:
        """The call's id."""
        return str(self.event["call_id"])


def example_calls(folder: Path = EXAMPLES) -> list[DemoCall]:
    """The six calls in ``examples/``. Raises DemoError where they are not there."""
    listing = folder / "calls.json"
    if not listing.exists():
        raise DemoError(
            f"There are no example calls in {folder}: name a folder of your own recordings (--recordings DIR)."
        )
    return [DemoCall(folder / entry["file"], entry["event"]) for entry in json.loads(listing.read_text())]


def calls_in(folder: Path) -> list[DemoCall]:
    """One call for each recording in the folder and those below it, named after its file. Raises DemoError."""
    if not folder.is_dir():
        raise DemoError(f"{folder} is not a folder.")
    paths = sorted(filter(is_recording, folder.rglob("*")))
    if not paths:
        known = ", ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
        raise DemoError(f"There is no recording in {folder} (looked for {known}).")
    ids = call_ids(path.relative_to(folder) for path in paths)
    return [DemoCall(path, {"call_id": call_id}) for path, call_id in zip(paths, ids, strict=True)]


async def publish_calls(settings: Settings, calls: Sequence[DemoCall]) -> None:
    """Put the recordings into the recordings' bucket and publish call.recorded for each. Raises Outage, SchemaError."""
    events = []
    async with http_client() as http:
        store = S3Client(source_s3_config(settings), http)
        for call in calls:
            place = await located(settings, store, str(call.path), f"{DEFAULT_TENANT_ID}/{call.call_id}")
            events.append(
                {"schema_version": 1, "tenant_id": DEFAULT_TENANT_ID, **call.event, "recording": place}
            )
    await publish(settings, events)


@dataclass(frozen=True)
class DemoResult:
    """What became of a call: its row, and where its cleaned file is (None: there is none)."""

    row: CallSummary
    output: Path | None


async def follow_calls(
    settings: Settings, calls: Sequence[DemoCall], *, seen: Callable[[dict[str, CallSummary]], None]
) -> dict[str, CallSummary]:
    """Wait until every call has ended, telling ``seen`` what the table says meanwhile; answers the rows by call id."""
    wanted = {call.call_id for call in calls}
    loop = asyncio.get_running_loop()
    moved_at = loop.time()
    before: dict[str, tuple[CallStatus, int]] = {}
    async with await open_pool(settings.dsn, size=1) as pool:
        reader = StatusReader(pool)
        while True:
            rows = {
                row.call_id: row for row in await _every_row(reader) if row.call_id and row.call_id in wanted
            }
            seen(rows)
            if len(rows) == len(wanted) and all(row.status in ENDED for row in rows.values()):
                return rows
            states = {call_id: (row.status, row.attempts) for call_id, row in rows.items()}
            if states != before:
                moved_at, before = loop.time(), states
            if loop.time() - moved_at > _NOTHING_MOVES_S:
                raise DemoError(f"Nothing has moved for {_NOTHING_MOVES_S / 60:g} minutes.")
            await asyncio.sleep(_LOOK_EVERY_S)


async def link_outputs(
    settings: Settings, rows: Iterable[CallSummary], *, bucket: Path, links: Path
) -> list[DemoResult]:
    """Give each cleaned file a short name: ``LINKS/call.flac`` leads into the folder that is the output bucket."""
    results = []
    async with await open_pool(settings.dsn, size=1) as pool:
        reader = StatusReader(pool)
        for row in rows:
            stored: list[Path] = []
            if row.status is CallStatus.CLEANED and row.call_id is not None:
                detail = await reader.get_call(row.call_id, row.tenant_id)
                stored = [
                    bucket / urlsplit(rendition.url).path.lstrip("/") for rendition in detail.renditions
                ]
            made = [_link(links / f"{row.call_id}.{path.name}", path) for path in stored]
            results.append(DemoResult(row, made[0] if made else None))
    return results


def _link(link: Path, target: Path) -> Path:
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent))
    return link


async def send_and_follow(
    settings: Settings, calls: Sequence[DemoCall], console: Console
) -> list[CallSummary]:
    """Publish the calls and show how they go; answers their rows at the end, in the order of ``calls``."""
    await publish_calls(settings, calls)
    shown = _Shown(console, len(calls))
    with shown.progress:
        rows = await follow_calls(settings, calls, seen=shown)
    return [rows[call.call_id] for call in calls]


class _Shown:
    """A bar on a terminal; elsewhere a line for each call that ends."""

    def __init__(self, console: Console, calls: int) -> None:
        self._console = console
        self._ended: set[str] = set()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar = self.progress.add_task("Published, waiting for the worker", total=calls)

    def __call__(self, rows: dict[str, CallSummary]) -> None:
        ended = {call_id for call_id, row in rows.items() if row.status in ENDED}
        for call_id in sorted(ended - self._ended):
            if not self._console.is_terminal:
                self._console.print(Text(f"  {call_id} {rows[call_id].status}"))
        self._ended = ended
        counts = Counter(str(row.status) for row in rows.values())
        told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
        self.progress.update(
            self._bar, completed=len(ended), description=told or "Published, waiting for the worker"
        )


def print_results(console: Console, results: Sequence[DemoResult], *, base: Path) -> None:
    """Print the table at the end; paths are told from ``base`` where they lie below it.

    Where the terminal is too narrow for it, what became of each call follows below the figures.
    """
    outcomes = [_outcome(result, base) for result in results]
    table = _table(results, outcomes)
    whole = Measurement.get(console, console.options.update_width(_VERY_WIDE), table)
    longest = max(len(outcome) for outcome in outcomes)
    if whole.maximum - max(0, longest - _OUTCOME_COLUMNS) <= console.width:
        console.print(table)
    else:
        console.print(_table(results, None))
        for result, outcome in zip(results, outcomes, strict=True):
            console.print(Text.assemble(f"{result.row.call_id}: ", outcome))
    console.print(
        "The noise floor is that of the noisiest channel, at the loudness of its file: raising a quiet party raises "
        "what lies under it.",
        style="dim",
    )


def _table(results: Sequence[DemoResult], outcomes: Sequence[Text] | None) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("call", no_wrap=outcomes is not None, overflow="fold")
    for heading in ("duration", "loudness, LUFS", "noise floor, dBFS"):
        table.add_column(heading, justify="right", no_wrap=True)
    if outcomes is not None:
        table.add_column("output", overflow="fold")
    for number, result in enumerate(results):
        row = result.row
        table.add_row(
            Text(row.call_id or ""),
            "" if row.duration_s is None else f"{row.duration_s:.1f} s",
            _change(row.before_lufs, row.after_lufs),
            _change(row.before_noise_floor_dbfs, row.after_noise_floor_dbfs),
            *([] if outcomes is None else [outcomes[number]]),
        )
    return table


def _outcome(result: DemoResult, base: Path) -> Text:
    row = result.row
    if result.output is not None:
        return Text(told_path(result.output, base))
    reason = f": {row.error.message}" if row.error else ""
    return Text(f"{row.status}{reason}", style="red")


def told_path(path: Path, base: Path) -> str:
    """The path as a person in ``base`` would type it."""
    return str(path.relative_to(base) if path.is_relative_to(base) else path)


def _change(before: float | None, after: float | None) -> str:
    told = ["-" if value is None else f"{value:.1f}" for value in (before, after)]
    return f"{told[0]:>5} -> {told[1]:>5}"


async def _every_row(reader: StatusReader) -> list[CallSummary]:
    rows: list[CallSummary] = []
    wanted = CallFilter(limit=MAX_PAGE_CALLS)
    while True:
        page = await reader.list_calls(wanted)
        rows += page.calls
        if page.next_cursor is None:
            return rows
        wanted = CallFilter(limit=MAX_PAGE_CALLS, cursor=Cursor.decode(page.next_cursor))


def call_ids(paths: Iterable[Path]) -> list[str]:
    """An id for each file from its name, a number added where two would be the same."""
    ids: dict[str, None] = {}
    for path in paths:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:_MAX_ID_CHARS] or "call"
        unlike = (f"{plain}-{number}" if number > 1 else plain for number in count(1))
        ids[next(name for name in unlike if name not in ids)] = None
    return list(ids)
