"""The ports of ``agents`` in memory: they remember what they were asked, and misbehave where a test says so."""

from __future__ import annotations

import asyncio
import shutil
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from agents.errors import CallError, Outage
from agents.ports import (
    Claim,
    Fetched,
    NewResult,
    ObjectRef,
    Rejection,
    StoredRendition,
)
from dsp import CleanReport, ResolvedChain, Source
from schemas import OutgoingEvent
from tests.support.work import SHA256, clean_report


class Asked(NamedTuple):
    """One question to a port: the method's name, and what it was given."""

    name: str
    given: dict[str, Any]


class Faults:
    """What goes wrong, by a method's name: each call raises the next error of the list, until it is empty."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.errors: dict[str, list[BaseException]] = defaultdict(list)

    def outages(self, name: str, count: int = 1_000_000) -> None:
        """Let the part be away for so many calls."""
        self.errors[name] = [Outage("Postgres", "no answer")] * count

    def names(self) -> list[str]:
        """Give the names of the methods that were asked, in order."""
        return [asked.name for asked in self.asked]

    def note(self, name: str, **given: Any) -> None:
        """Remember the question and raise what is due."""
        self.asked.append(Asked(name, given))
        if self.errors[name]:
            raise self.errors[name].pop(0)


class FakeClaims(Faults):
    """A queue. ``ours`` says whether the fence still holds, ``lost`` which leases are gone."""

    def __init__(self, *due: Claim) -> None:
        super().__init__()
        self.due = list(due)
        self.ours = True
        self.lost: set[int] = set()
        self.before_claiming: Callable[[], Awaitable[object]] | None = None

    async def claim(self, *, worker: str, limit: int, lease_s: float) -> list[Claim]:
        if self.before_claiming is not None:
            await self.before_claiming()
        self.note("claim", worker=worker, limit=limit, lease_s=lease_s)
        taken, self.due = self.due[:limit], self.due[limit:]
        return taken

    async def renew(self, claims: Collection[Claim], *, lease_s: float) -> set[int]:
        self.note("renew", tokens={held.lease_token for held in claims}, lease_s=lease_s)
        return self.lost & {held.lease_token for held in claims}

    async def finish(
        self, claim: Claim, report: CleanReport, renditions: Sequence[StoredRendition], event: OutgoingEvent
    ) -> bool:
        self.note("finish", claim=claim, report=report, renditions=list(renditions), event=event)
        return self.ours

    async def fail(self, claim: Claim, error: CallError, event: OutgoingEvent) -> bool:
        self.note("fail", claim=claim, error=error, event=event)
        return self.ours

    async def retry(self, claim: Claim, error: CallError, *, delay_s: float) -> bool:
        self.note("retry", claim=claim, error=error, delay_s=delay_s)
        return self.ours

    async def release(self, claim: Claim, *, delay_s: float) -> bool:
        self.note("release", claim=claim, delay_s=delay_s)
        return self.ours


class FakeFetcher(Faults):
    """Every recording is the same few bytes."""

    CONTENT = b"a recording"

    async def fetch(self, *, tenant_id: str, url: str, to: Path) -> Fetched:
        self.note("fetch", tenant_id=tenant_id, url=url, to=to)
        to.write_bytes(self.CONTENT)
        return Fetched(path=to, sha256=SHA256, bytes=len(self.CONTENT))


class FakeExecutor(Faults):
    """Writes the renditions' files; ``working`` may hold it up."""

    def __init__(self, held: Claim) -> None:
        super().__init__()
        self._held = held
        self.working: Callable[[], Awaitable[object]] | None = None

    async def clean(self, source: Source, chain: ResolvedChain, out_dir: Path) -> CleanReport:
        self.note("clean", source=source, chain=chain, out_dir=out_dir)
        assert source.path.read_bytes() == FakeFetcher.CONTENT
        if self.working is not None:
            await self.working()
        report = clean_report(self._held)
        for rendition in report.renditions:
            (out_dir / Path(rendition.path).name).write_text(rendition.name)
        return report


class FakeStore(Faults):
    """Keeps objects by key."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}

    async def put(self, key: str, path: Path, *, sha256: str, media_type: str) -> ObjectRef:
        self.note("put", key=key, media_type=media_type)
        self.objects[key] = path.read_bytes()
        return ObjectRef(url=f"s3://clearcall/{key}", sha256=sha256, bytes=len(self.objects[key]))


class FakeScratch(Faults):
    """Folders below a test's own."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.room = True

    @contextmanager
    def folder(self, claim: Claim) -> Iterator[Path]:
        self.note("folder", claim=claim)
        path = self.root / str(claim.lease_token)
        (path / "out").mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def has_room(self) -> bool:
        self.note("has_room")
        return self.room


class FakeObserver:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.active: list[int] = []
        self.results: list[tuple[Claim, float]] = []
        self.failures: list[str] = []

    def claimed(self, active: int) -> None:
        self.active.append(active)

    def cleaned(self, claim: Claim, report: CleanReport, seconds: float) -> None:
        assert report.chain.digest == claim.chain.digest
        self.results.append((claim, seconds))

    def failed(self, code: str) -> None:
        self.failures.append(code)


class FakeInbox(Faults):
    """Keeps results and rejections by id."""

    def __init__(self) -> None:
        super().__init__()
        self.results: dict[object, NewResult] = {}
        self.rejections: dict[object, tuple[Rejection, OutgoingEvent]] = {}

    async def accept(self, new: NewResult) -> bool:
        self.note("accept", new=new)
        is_new = new.result_id not in self.results
        self.results.setdefault(new.result_id, new)
        return is_new

    async def reject(self, rejection: Rejection, event: OutgoingEvent) -> bool:
        self.note("reject", rejection=rejection, event=event)
        is_new = rejection.rejected_id not in self.rejections
        self.rejections.setdefault(rejection.rejected_id, (rejection, event))
        return is_new


class Gate:
    """Holds up who asks until it is opened, and counts who waits."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most_waiting = 0
        self._open = asyncio.Event()

    async def __call__(self, *_: object, **__: object) -> None:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await self._open.wait()
        finally:
            self.waiting -= 1

    def open(self) -> None:
        """Let everybody through, now and later."""
        self._open.set()
