"""The embedded stack with a worker on it: what ``clearcall up`` and ``clearcall demo`` run."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sysconfig
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from app import migrate
from app.embedded.errors import EmbeddedError
from app.embedded.part import Part
from app.embedded.ports import LOOPBACK, free_port, is_free
from app.embedded.stack import EmbeddedStack, write_private
from app.settings import Settings

DEFAULT_PORT = 6066
_READY_WITHIN_S = 120.0
# A worker ends within 30 s of SIGTERM; what has not ended then is ended.
_WORKER_GRACE_S = 35.0
_EVERY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - to know, not to listen


class EmbeddedService:
    """Parts, tables and one worker, started by ``async with`` in this order and stopped in the other.

    Parameters
    ----------
    stack : EmbeddedStack
        Not started yet.
    port : int or None
        Where the pages are; None: 6066, or another port where that is taken.
    worker_log : bool
        Whether the worker's log goes to a file beside the parts'; else to this process's own output.
    tell : callable
        Is told what happens next, in a few words.

    Raises
    ------
    EmbeddedError
        On entering: the port is taken, a part or the worker does not start.
    """

    def __init__(
        self,
        stack: EmbeddedStack,
        *,
        port: int | None,
        worker_log: bool,
        tell: Callable[[str], None],
    ) -> None:
        self.stack = stack
        self._port = port
        self._log_path = stack.logs / "worker.log" if worker_log else None
        self._tell = tell
        self._worker: Part | None = None
        self._environment: dict[str, str] = {}
        self._exits = AsyncExitStack()

    @property
    def url(self) -> str:
        """Where the status page is."""
        host = self._environment["CLEARCALL_WEB_BIND"]
        host = LOOPBACK if host in _EVERY_ADDRESS else f"[{host}]" if ":" in host else host
        return f"http://{host}:{self._environment['CLEARCALL_WEB_PORT']}"

    def environment(self) -> dict[str, str]:
        """The worker's ``CLEARCALL_*`` settings; secrets included."""
        return dict(self._environment)

    def settings(self) -> Settings:
        """The worker's settings, as the worker reads them."""
        given: dict[str, Any] = {
            name.removeprefix("CLEARCALL_").lower(): v for name, v in self._environment.items()
        }
        return Settings(**{**given, "sources": json.loads(given["sources"])})

    def write_env_file(self, path: Path) -> None:
        """Write the settings as a file that a shell can read (``set -a; . FILE``) and only its owner can."""
        lines = [f"{name}={shlex.quote(value)}\n" for name, value in sorted(self._environment.items())]
        write_private(path, "".join(lines))

    async def ended(self) -> tuple[int, str]:
        """Wait until the worker or a part ends by itself; answers an exit status for this program, and why."""
        worker = self._running_worker()
        worker_end = asyncio.create_task(worker.ended())
        part_end = asyncio.create_task(self.stack.part_ended())
        try:
            await asyncio.wait((worker_end, part_end), return_when=asyncio.FIRST_COMPLETED)
            if part_end.done():
                return 1, part_end.result()
            status = worker_end.result()
            return (status if status >= 0 else 128 - status), worker.end_told()
        finally:
            worker_end.cancel()
            part_end.cancel()

    def kill_worker(self) -> None:
        """End the worker at once: its calls in work are taken up again by the next one."""
        if self._worker is not None:
            self._worker.kill()

    async def __aenter__(self) -> Self:
        bind = os.environ.get("CLEARCALL_WEB_BIND") or LOOPBACK
        port = choose_port(self._port, bind)
        async with AsyncExitStack() as exits:
            self._tell("Starting Postgres, S3 and the broker")
            await exits.enter_async_context(self.stack)
            self._environment = self.stack.environment() | {
                "CLEARCALL_WEB_BIND": bind,
                "CLEARCALL_WEB_PORT": str(port),
            }
            self._tell("Bringing the database to its newest version")
            await migrate.upgrade(self._environment["CLEARCALL_POSTGRES_DSN"])
            self._tell("Starting the worker")
            self._worker = self._new_worker()
            exits.push_async_callback(self._worker.stop, grace_s=_WORKER_GRACE_S)
            self._worker.start()
            await self._wait_ready(self._worker)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell("Stopping")
        await self._exits.aclose()

    async def _wait_ready(self, worker: Part) -> None:
        part_end = asyncio.create_task(self.stack.part_ended())
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:

            async def answers() -> bool:
                if part_end.done():
                    raise EmbeddedError(part_end.result())
                try:
                    return (await http.get(f"{self.url}/readyz")).is_success
                except httpx.TransportError:
                    return False

            try:
                await worker.wait_until(answers, timeout_s=_READY_WITHIN_S)
            finally:
                part_end.cancel()

    def _new_worker(self) -> Part:
        return Part(
            "The worker",
            [Path(sysconfig.get_path("scripts")) / "clearcall", "worker"],
            log_path=self._log_path,
            env={**os.environ, **self._environment, "PYTHONUNBUFFERED": "1"},
            cwd=Path.cwd(),
            # Were this process killed, its parts would be gone too: there is nothing left to end in peace with.
            signals=(signal.SIGTERM, signal.SIGKILL),
        )

    def _running_worker(self) -> Part:
        if self._worker is None:
            raise RuntimeError("The embedded service is not started.")
        return self._worker


def choose_port(wanted: int | None, bind: str) -> int:
    """The port of the pages; None lets it be another where the usual one is taken. Raises EmbeddedError."""
    if wanted is None:
        return DEFAULT_PORT if is_free(DEFAULT_PORT, bind) else free_port()
    if not is_free(wanted, bind):
        raise EmbeddedError(
            f"Port {wanted} on {bind} is taken: stop what listens there, or choose another with --port."
        )
    return wanted
