"""A worker as a plain process: ``clearcall worker``, or the one inside ``clearcall up``."""

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support.kafka import Kafka
from tests.support.minio import REGION, Minio
from tests.support.ports import LOOPBACK, free_port
from tests.support.process import Process

_READY_TIMEOUT_S = 60.0
_UP_TIMEOUT_S = 90.0
_POLL_S = 0.05
# What a program needs of its surroundings; every CLEARCALL_* setting comes from the test alone.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "NUMBA_CACHE_DIR")


def clearcall_program() -> Path:
    """The installed console script."""
    return _program("clearcall")


def clearcall_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a ``clearcall`` process with these settings."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**inherited, "PYTHONUNBUFFERED": "1", **settings}


def real_settings(kafka: Kafka, minio: Minio, database: str, *, name: str, folder: Path) -> dict[str, str]:
    """Settings of a worker on the real parts, with topics, group and files of the test's own.

    Outputs go to the bucket ``name``; recordings may lie in ``NAME-source``. The test makes both.
    """
    return {
        "CLEARCALL_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "CLEARCALL_TOPIC_PREFIX": f"{name}.",
        "CLEARCALL_GROUP_ID": name,
        "CLEARCALL_POSTGRES_DSN": database,
        "CLEARCALL_S3_ENDPOINT": minio.endpoint,
        "CLEARCALL_S3_REGION": REGION,
        "CLEARCALL_S3_ACCESS_KEY": minio.access_key,
        "CLEARCALL_S3_SECRET_KEY": minio.secret_key,
        "CLEARCALL_S3_BUCKET": name,
        "CLEARCALL_SOURCES": f'{{"*": ["s3://{name}-source/"]}}',
        "CLEARCALL_DATA_DIR": str(folder),
        "CLEARCALL_WORKERS": "1",
        "CLEARCALL_LOG_FORMAT": "json",
    }


class Worker:
    """One worker; its web port is its own, and it may be started again after it has ended.

    Parameters
    ----------
    settings : mapping
        ``CLEARCALL_*``; web address, name and data folder are set here.
    folder : Path
        Receives its log and its data folder.
    name : str, optional
        By default one that nobody else has.
    argv : sequence of str, optional
        A console script and its arguments, in place of ``clearcall worker``.
    """

    def __init__(
        self,
        settings: Mapping[str, str],
        folder: Path,
        *,
        name: str | None = None,
        argv: Sequence[str] = (),
    ) -> None:
        self.name = name or f"worker-{secrets.token_hex(3)}"
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        script, *arguments = argv or self._argv()
        self.process = Process(
            self.name,
            [str(_program(script)), *arguments],
            log_path=folder / f"{self.name}.log",
            env=clearcall_environment({**settings, **self._own_settings()}),
            cwd=folder,
        )

    def start(self, *, wait: bool = True) -> None:
        """Start it; by default wait until it can serve."""
        self.process.start()
        if wait:
            self.wait_ready()

    def wait_ready(self, *, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait until ``/readyz`` answers 200."""
        self.process.wait_for_http(f"{self.url}/readyz", timeout_s=timeout_s)

    def terminate(self, *, timeout_s: float = 30.0) -> float:
        """Send SIGTERM and wait for the end: the seconds that it took; raises if that is too long."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(timeout_s)
        return time.monotonic() - began

    def kill(self) -> None:
        """``kill -9`` the worker alone: what it had started has to end by itself."""
        self.process.kill()

    def descendants(self) -> list[psutil.Process]:
        """Every process that it has started, and that those have."""
        return psutil.Process(self.process.pid).children(recursive=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Its DSP processes stand still: calls in work stay so, whatever becomes of the worker meanwhile.

        They are there once it consumes.
        """
        held = []
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess):  # a database's process for one connection comes and goes
                if "dsp.child" in process.cmdline():
                    process.suspend()
                    held.append(process)
        assert held, f"{self.name} has no DSP process yet\n{self.process.log_tail()}"
        try:
            yield
        finally:
            for process in held:
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def said(self, event: str) -> int:
        """How often its log, which is JSON, has this event."""
        return self.process.log_path.read_text(errors="replace").count(f'"event": {json.dumps(event)}')

    def stop(self) -> None:
        """End it, by force if need be."""
        self.process.stop(grace_s=30.0)

    def _argv(self) -> list[str]:
        return ["clearcall", "worker"]

    def _own_settings(self) -> dict[str, str]:
        return {
            "CLEARCALL_WEB_BIND": LOOPBACK,
            "CLEARCALL_WEB_PORT": str(self.port),
            "CLEARCALL_WORKER_NAME": self.name,
            "CLEARCALL_DATA_DIR": str(self.folder / self.name),
        }


class Up(Worker):
    """``clearcall up``: the embedded parts and a worker on them, over ``FOLDER/data``.

    Ending it ends all of it; started again, it goes on with the same data. ``kill`` takes the parts away with it.
    """

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self.env_file = folder / "settings.env"
        super().__init__({"CLEARCALL_LOG_FORMAT": "json", **settings}, folder, name="up")

    def start(self, *, wait: bool = True) -> None:
        """Start it; by default wait until it can serve."""
        self.env_file.unlink(missing_ok=True)  # of one that was killed
        super().start(wait=wait)

    def wait_ready(self, *, timeout_s: float = _UP_TIMEOUT_S) -> None:
        """Wait until it has written its settings: parts and worker are ready then."""
        self.process.wait_until(self.env_file.exists, timeout_s=timeout_s, what="ready")

    def _argv(self) -> list[str]:
        files = ["--data", str(self.folder / "data"), "--env-file", str(self.env_file)]
        return ["clearcall", "up", *files, "--port", str(self.port)]

    def _own_settings(self) -> dict[str, str]:
        return {"CLEARCALL_WEB_BIND": LOOPBACK, "CLEARCALL_WORKER_NAME": self.name}


def left_running(processes: list[psutil.Process], *, within_s: float) -> list[psutil.Process]:
    """Those that have not ended by then; one that merely nobody has reaped has ended."""
    deadline = time.monotonic() + within_s
    left = processes
    while left := [process for process in left if _runs(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _program(name: str) -> Path:
    return Path(sys.executable).with_name(name)
