"""A program run as a plain process: started, watched, stopped, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.support.ports import accepts_connections

_DIE_WITH_PARENT = Path(__file__).with_name("die_with_parent.py")
_POLL_S = 0.05

# The kernel sends the parent-death signal when the *thread* that forked ends. Every process is therefore started
# from this one thread, which lives as long as the test run, whichever thread asks.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class ProcessFailedError(Exception):
    """The program ended, or was not ready in time; the message holds the end of its log."""


class Process:
    """One program with its log; ``start`` may be called again after it has ended.

    Parameters
    ----------
    name : str
        What error messages call it.
    argv : sequence of str
        The program and its arguments.
    log_path : Path
        Where stdout and stderr are appended.
    env : mapping, optional
        The whole environment of the program; by default this process's own.
    cwd : Path, optional
        Where it runs.
    run_as : str, optional
        A user to switch to (only root may).
    stop_signal : signal.Signals
        What ``stop`` sends first.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        run_as: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_path = log_path
        self.env = dict(os.environ if env is None else env)
        self.cwd = cwd
        self.run_as = run_as
        self.stop_signal = stop_signal
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit status (minus the signal's number where one ended it), None while it runs."""
        return self._started().poll()

    def start(self) -> None:
        """Start it in a session of its own; the kernel kills it when this process ends, however it ends."""
        if self.running:
            raise ProcessFailedError(f"{self.name} is running already (process {self.pid})")
        self._popen = _SPAWNER.submit(self._spawn).result()

    def wait(self, timeout_s: float) -> int:
        """The exit status; raises ``ProcessFailedError`` when it still runs after ``timeout_s``."""
        try:
            return self._started().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessFailedError(
                f"{self.name} still runs after {timeout_s:g} s.\n{self.log_tail()}"
            ) from None

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its children."""
        self._started().send_signal(signal_number)

    def terminate(self) -> None:
        """Send SIGTERM to the process alone."""
        self.send(signal.SIGTERM)

    def kill(self) -> None:
        """``kill -9`` the process alone (its children see only that their parent is gone) and reap it."""
        self.send(signal.SIGKILL)
        self.wait(10)

    def suspend(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after ``suspend``."""
        self.send(signal.SIGCONT)

    def stop(self, grace_s: float = 15.0) -> int | None:
        """End it: the stop signal, after ``grace_s`` SIGKILL for it and all it started. Gives its status."""
        if self._popen is None:
            return None
        if self.running:
            self.resume()
            self.send(self.stop_signal)
        try:
            self._popen.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._kill_session()
        return self._popen.wait(10)

    def wait_until(self, ready: Callable[[], bool], *, timeout_s: float, what: str) -> None:
        """Poll ``ready`` until it is true; ``ProcessFailedError`` if it ends or the time runs out first."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if not self.running:
                raise ProcessFailedError(
                    f"{self.name} ended with status {self.returncode} before {what}.\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise ProcessFailedError(
                    f"{self.name}: not {what} within {timeout_s:g} s.\n{self.log_tail()}"
                )
            time.sleep(_POLL_S)

    def wait_for_port(self, port: int, *, timeout_s: float) -> None:
        """Wait until it accepts TCP connections on a loopback port."""
        self.wait_until(
            lambda: accepts_connections(port), timeout_s=timeout_s, what=f"listening on port {port}"
        )

    def wait_for_http(self, url: str, *, timeout_s: float, status: int = 200) -> None:
        """Wait until ``GET url`` answers with ``status``."""
        self.wait_until(
            lambda: http_status(url) == status, timeout_s=timeout_s, what=f"answering {url} with {status}"
        )

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the log, for error messages."""
        if not self.log_path.exists():
            return f"({self.log_path} does not exist)"
        kept = self.log_path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"Last lines of {self.log_path}:", *kept])

    def _spawn(self) -> subprocess.Popen[bytes]:
        wrapper = [sys.executable, "-I", "-S", str(_DIE_WITH_PARENT)]
        wrapper += [str(signal.SIGKILL.value), str(os.getpid()), self.run_as or ""]
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the arguments are the test's own
                [*wrapper, *self.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )

    def _started(self) -> subprocess.Popen[bytes]:
        if self._popen is None:
            raise ProcessFailedError(f"{self.name} has not been started")
        return self._popen

    def _kill_session(self) -> None:
        """Kill the whole process group: it is the session's, so nothing else is in it."""
        os.killpg(self.pid, signal.SIGKILL)


def http_status(url: str, timeout_s: float = 2.0) -> int | None:
    """The status that ``GET url`` answers with, None where nothing answers."""
    try:
        return httpx.get(url, timeout=timeout_s, trust_env=False).status_code
    except httpx.TransportError:
        return None
