"""Broker, database and object store together, over one data folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from app.embedded.broker import EmbeddedBroker
from app.embedded.errors import EmbeddedError
from app.embedded.object_store import REGION, EmbeddedObjectStore
from app.embedded.part import Part
from app.embedded.postgres import EmbeddedPostgres

OUTPUT_BUCKET = "clearcall"
SOURCE_BUCKET = "recordings"
# What a fresh start removes; anything else in the folder is not ours.
_OURS = ("postgres", "postgres.new", "s3", "logs", "scratch", "secrets.json", "outputs")


class EmbeddedStack:
    """The three parts, started by ``async with`` and stopped at its end.

    Parameters
    ----------
    data : Path
        Where everything is kept; made if it is not there. One stack at a time uses it, and the next one on the same
        folder goes on with the same data (the broker's aside, which keeps none).
    recordings : Path, optional
        A folder of the user's whose files events may name as ``file:///...``.
    fresh : bool
        Remove what an earlier stack has left in ``data``.

    Raises
    ------
    EmbeddedError
        On entering: the folder is in use or cannot be written, a package is missing, a part does not start.
    """

    def __init__(self, data: Path, *, recordings: Path | None = None, fresh: bool = False) -> None:
        self.data = data.expanduser().resolve()
        self.recordings = recordings.expanduser().resolve() if recordings else None
        self._fresh = fresh
        self._parts: tuple[Part, ...] = ()
        self._settings: dict[str, str] = {}
        self._exits = AsyncExitStack()

    @property
    def logs(self) -> Path:
        """The folder of the parts' logs."""
        return self.data / "logs"

    @property
    def outputs(self) -> Path:
        """The folder that is the output bucket."""
        return self.data / "s3" / OUTPUT_BUCKET

    def environment(self) -> dict[str, str]:
        """The ``CLEARCALL_*`` settings of a worker, or of any command, on this stack; secrets included."""
        if not self._settings:
            raise RuntimeError("The embedded stack has no settings before it is started.")
        return dict(self._settings)

    async def part_ended(self) -> str:
        """Wait until a part ends by itself; answers which, how, and where its log is."""
        watching = {asyncio.create_task(part.ended()): part for part in self._parts}
        try:
            done, _ = await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
            return watching[done.pop()].end_told()
        finally:
            for task in watching:
                task.cancel()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            exits.enter_context(_exclusive(self.data))
            try:
                if self._fresh:
                    _remove_leftovers(self.data)
                self._make_folders()
                self._settings = await self._start(exits)
            except OSError as error:
                raise EmbeddedError(
                    f"The embedded stack cannot use {self.data}: {error}. Mend that, or choose another --data folder."
                ) from error
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def _start(self, exits: AsyncExitStack) -> dict[str, str]:
        keys = _secrets(self.data / "secrets.json")
        postgres = EmbeddedPostgres(
            self.data / "postgres", password=keys["postgres_password"], log_path=self.logs / "postgres.log"
        )
        store = EmbeddedObjectStore(
            self.data / "s3",
            access_key=keys["s3_access_key"],
            secret_key=keys["s3_secret_key"],
            log_path=self.logs / "s3.log",
        )
        broker = EmbeddedBroker(self.data, log_path=self.logs / "broker.log")
        parts = (postgres, store, broker)
        for part in parts:
            exits.push_async_callback(part.stop)
        starts = [
            asyncio.create_task(start)
            for start in (postgres.start(), store.start(OUTPUT_BUCKET, SOURCE_BUCKET), broker.start())
        ]
        try:
            await asyncio.gather(*starts)
        finally:
            for start in starts:
                start.cancel()
            await asyncio.wait(starts)
        self._parts = tuple(part.part for part in parts)
        return self._environment(broker.bootstrap, postgres.dsn, store)

    def _environment(self, bootstrap: str, dsn: str, store: EmbeddedObjectStore) -> dict[str, str]:
        settings = {
            "KAFKA_BOOTSTRAP": bootstrap,
            "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
            "TOPIC_PARTITIONS": "4",
            "TOPIC_REPLICATION": "1",
            "POSTGRES_DSN": dsn,
            "S3_BUCKET": OUTPUT_BUCKET,
            "SOURCE_S3_BUCKET": SOURCE_BUCKET,
            "SOURCES": json.dumps(
                merged_sources(os.environ.get("CLEARCALL_SOURCES"), recordings=self.recordings)
            ),
            "DATA_DIR": str(self.data),
            "EMBEDDED": "true",
        }
        for prefix in ("", "SOURCE_"):
            settings[f"{prefix}S3_ENDPOINT"] = store.endpoint
            settings[f"{prefix}S3_REGION"] = REGION
            settings[f"{prefix}S3_ACCESS_KEY"] = store.access_key
            settings[f"{prefix}S3_SECRET_KEY"] = store.secret_key
        return {f"CLEARCALL_{name}": value for name, value in settings.items()}

    def _make_folders(self) -> None:
        for folder in (self.logs, self.data / "s3"):
            folder.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def _exclusive(data: Path) -> Iterator[None]:
    """Hold the data folder for this process; the kernel lets go of it when the process ends, however it ends."""
    try:
        # Others may pass (root's Postgres runs as another user) but not look around.
        data.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = (data / "lock").open("a+")
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data} cannot be used: {error.strerror}. Choose one with --data."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            raise EmbeddedError(
                f"The data folder {data} is in use by process {holder or 'unknown'}: stop that one (Ctrl-C, or "
                f"`kill {holder or 'PID'}`), or choose another folder with --data."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _remove_leftovers(data: Path) -> None:
    for name in _OURS:
        path = data / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _secrets(path: Path) -> dict[str, str]:
    """The keys of this data folder, made on its first use and readable by their owner alone."""
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text())
        return kept
    made = {
        "postgres_password": secrets.token_hex(16),
        "s3_access_key": f"CLEARCALL{secrets.token_hex(6).upper()}",
        "s3_secret_key": secrets.token_hex(20),
    }
    write_private(path, json.dumps(made))
    return made


def write_private(path: Path, text: str) -> None:
    """Write a whole file that only its owner can read; a reader sees the old one or the new one, never half."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    unfinished.replace(path)


def merged_sources(given: str | None, *, recordings: Path | None) -> dict[str, list[str]]:
    """What the user allows (``CLEARCALL_SOURCES``), and what the stack itself holds. Raises EmbeddedError."""
    sources = _parse_sources(given)
    own = [f"s3://{SOURCE_BUCKET}"] + ([recordings.as_uri()] if recordings else [])
    everybody = sources.setdefault("*", [])
    everybody += [rule for rule in own if rule not in everybody]
    return sources


def _parse_sources(text: str | None) -> dict[str, list[str]]:
    if not text:
        return {}
    try:
        sources = json.loads(text)
    except ValueError as error:
        raise EmbeddedError(f"CLEARCALL_SOURCES is not JSON ({error}): unset it or mend it.") from None
    if not isinstance(sources, dict) or not all(isinstance(rules, list) for rules in sources.values()):
        raise EmbeddedError('CLEARCALL_SOURCES has to be an object of lists: {"*": ["s3://bucket/prefix"]}')
    return {str(tenant): [str(rule) for rule in rules] for tenant, rules in sources.items()}
