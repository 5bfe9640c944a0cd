"""One program of the embedded stack: started, awaited, watched, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from app.embedded.errors import EmbeddedError

_LAUNCH = Path(__file__).with_name("launch.py")
_LOOK_EVERY_S = 0.03
_WATCH_EVERY_S = 0.25
_LOG_LINES = 15
_LOG_TAIL_BYTES = 16 * 1024


class Part:
    """A program in a session of its own: a Ctrl-C of the terminal reaches only whoever started it.

    When this process ends, however it ends, the kernel sends the program the second of ``signals`` (on Linux, and when
    the *thread* that called ``start`` ends: call it from the main thread).

    Parameters
    ----------
    name : str
        What people call it.
    argv : sequence of str
        The program and its arguments.
    log_path : Path or None
        Where its output is appended; None: to this process's own output.
    env : mapping
        Its whole environment.
    cwd : Path
        Where it runs.
    run_as : str, optional
        A user to switch to (only root may).
    signals : (signal.Signals, signal.Signals)
        What ends it in peace, and what ends it when this process is gone.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log_path: Path | None,
        env: Mapping[str, str],
        cwd: Path,
        run_as: str | None = None,
        signals: tuple[signal.Signals, signal.Signals] = (signal.SIGTERM, signal.SIGTERM),
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._argv = [str(word) for word in argv]
        self._env = dict(env)
        self._cwd = cwd
        self._run_as = run_as
        self._stop_signal, self._death_signal = signals
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id; None before it was started."""
        return self._process.pid if self._process else None

    @property
    def status(self) -> int | None:
        """The exit status, minus the signal's number where one ended it; None while it runs or was never started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start it; say nothing of whether it is ready."""
        launch = [sys.executable, "-I", "-S", str(_LAUNCH), str(int(self._death_signal)), str(os.getpid())]
        output = self.log_path.open("ab") if self.log_path else None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own programs
                [*launch, self._run_as or "", *self._argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=self._env,
                cwd=self._cwd,
                start_new_session=True,
            )
        finally:
            if output:
                output.close()

    async def wait_until(self, ready: Callable[[], Awaitable[bool]], *, timeout_s: float) -> None:
        """Ask ``ready`` until it says yes. Raises EmbeddedError if the program ends first or the time runs out."""
        deadline = time.monotonic() + timeout_s
        while not await ready():
            if self.status is not None:
                raise EmbeddedError(
                    f"{self.name} ended ({self._how()}) before it was ready. {self.log_hint()}"
                )
            if time.monotonic() > deadline:
                raise EmbeddedError(f"{self.name} was not ready within {timeout_s:g} s. {self.log_hint()}")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def ended(self, *, look_every_s: float = _WATCH_EVERY_S) -> int:
        """Wait for its end; answers the exit status."""
        while (status := self.status) is None:  # noqa: ASYNC110 - no event tells of a process that is not asyncio's
            await asyncio.sleep(look_every_s)
        return status

    async def stop(self, *, grace_s: float) -> None:
        """Ask it to end, and after ``grace_s`` end it with all that it started."""
        if self._process is None:
            return
        try:
            if self.status is None:
                self._process.send_signal(self._stop_signal)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self.ended(look_every_s=_LOOK_EVERY_S)
        finally:
            # Also where somebody does not want to wait any longer.
            self.kill()
            self._process.wait()

    def kill(self) -> None:
        """End it at once, with whatever is left of what it started: the process group is its session's alone."""
        if self._process is None:
            return
        # Nothing may be left (and macOS refuses to signal a group of zombies).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def end_told(self) -> str:
        """That it has ended, how, and where to look, as a sentence."""
        return f"{self.name} ended ({self._how()}). {self.log_hint()}"

    def log_hint(self) -> str:
        """Where its log is, with the last lines."""
        if self.log_path is None:
            return "What it said is above."
        lines = _last_lines(self.log_path)
        told = ", which ends with:" if lines else ", which is empty."
        return "\n".join([f"Its log is {self.log_path}{told}", *lines])

    def _how(self) -> str:
        status = self.status
        if status is None:
            return "running"
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _last_lines(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        return log.read().decode(errors="replace").splitlines()[-_LOG_LINES:]
