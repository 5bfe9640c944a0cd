"""What the real parts are made of: found on this machine, or built once and kept by version.

Also a program (``python3 -m tests.support.artifacts kafka minio``) that imports the standard library alone,
so that the slow builds can run beside the making of the environment. Two runs at a time do not clash: a file
lock lets one build while the other waits, and a build is made aside and renamed, so that what is there is
complete. The builds lie outside the checkout, so that a new clone finds them.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

KAFKA_VERSION = "4.1.1"
MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c"
_KAFKA_NAME = f"kafka-{KAFKA_VERSION}"
_MINIO_NAME = f"minio-{MINIO_VERSION.removeprefix('v')}"
BUILD_TIMEOUT_S = 15 * 60

_KAFKA_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>clearcall</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version></dependency>
  </dependencies>
</project>
"""


class PartMissingError(Exception):
    """A real part cannot be had on this machine; the message says what to install, or why its build failed."""


def cache_folder() -> Path:
    """The folder ``clearcall`` in ``$CLEARCALL_CACHE_DIR``, ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("CLEARCALL_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "clearcall"


def kafka_jars() -> Path:
    """The folder with Apache Kafka's jars, fetched by Maven the first time (43 MB)."""
    _require_tools("Apache Kafka", {"java": "a Java runtime, 17 or newer"})
    return _cached(_KAFKA_NAME, _fetch_kafka) / "lib"


def minio_binary() -> Path:
    """MinIO's server: ``$MINIO_BINARY``, ``minio`` on the PATH, or built by Go once (some minutes)."""
    given = os.environ.get("MINIO_BINARY")
    if given:
        if not os.access(given, os.X_OK):
            raise PartMissingError(f"MINIO_BINARY={given} is not a program; correct it or unset it")
        return Path(given)
    installed = shutil.which("minio")
    if installed:
        return Path(installed)
    return _cached(_MINIO_NAME, _build_minio) / "minio"


def still_to_make() -> list[str]:
    """What this run will fetch or build first if its tests need it, a line each."""
    lines = []
    if not _is_complete(cache_folder() / _KAFKA_NAME) and shutil.which("mvn"):
        lines.append(f"Apache Kafka {KAFKA_VERSION} is fetched once, half a minute, into {cache_folder()}")
    found = os.environ.get("MINIO_BINARY") or shutil.which("minio")
    if not found and not _is_complete(cache_folder() / _MINIO_NAME) and shutil.which("go"):
        lines.append(f"MinIO is built once, some minutes, into {cache_folder()}")
    return lines


def _fetch_kafka(folder: Path) -> None:
    _require_tools("Apache Kafka", {"mvn": "Maven, which fetches its jars once"})
    pom = folder / "pom.xml"
    pom.write_text(_KAFKA_POM)
    _run(
        [
            "mvn",
            "-q",
            "-B",
            "-f",
            str(pom),
            "dependency:copy-dependencies",
            f"-DoutputDirectory={folder / 'lib'}",
        ],
        what=f"fetching Apache Kafka {KAFKA_VERSION}",
    )


def _build_minio(folder: Path) -> None:
    _require_tools("MinIO", {"go": "Go 1.24 or newer, which builds it once (or set MINIO_BINARY)"})
    _run(
        # Nobody debugs it: without debug information it builds sooner and is a third smaller.
        [
            "go",
            "install",
            "-gcflags=all=-dwarf=false",
            "-ldflags=-s -w",
            f"github.com/minio/minio@{MINIO_VERSION}",
        ],
        what=f"building MinIO {MINIO_VERSION}",
        extra_env={"GOBIN": str(folder)},
    )


def _cached(name: str, build: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the cache, built aside and renamed into place if it is not there."""
    cache = cache_folder()
    finished = cache / name
    with _locked(cache / f".{name}.lock"):
        if not _is_complete(finished):
            for abandoned in cache.glob(f".{name}-*/"):  # of a build that was killed: we hold the lock
                shutil.rmtree(abandoned, ignore_errors=True)
            aside = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
            try:
                build(aside)
                shutil.rmtree(finished, ignore_errors=True)
                aside.rename(finished)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return finished


def _is_complete(folder: Path) -> bool:
    """Whether the folder is there and holds something (an emptied cache is built again)."""
    return folder.is_dir() and any(folder.iterdir())


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _require_tools(part: str, tools: dict[str, str]) -> None:
    missing = [f"{what} (`{tool}`)" for tool, what in tools.items() if shutil.which(tool) is None]
    if missing:
        raise PartMissingError(f"{part} needs {', '.join(missing)}; nothing of that name is on the PATH")


def _run(argv: Sequence[str], *, what: str, extra_env: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            argv,
            env={**os.environ, **(extra_env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PartMissingError(f"{what} took more than {BUILD_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last_words = " / ".join(done.stdout.strip().splitlines()[-3:])
        raise PartMissingError(f"{what} failed with status {done.returncode}: {last_words}")


def main(names: Sequence[str]) -> int:
    """Make the named parts' artifacts and say where they are; the exit status."""
    makers = {"kafka": kafka_jars, "minio": minio_binary}
    if not names or not set(names) <= set(makers):
        sys.stderr.write(f"usage: python3 -m tests.support.artifacts [{'] ['.join(makers)}]\n")
        return 2
    for name in names:
        try:
            sys.stdout.write(f"{name}: {makers[name]()}\n")
        except PartMissingError as error:
            sys.stderr.write(f"{name}: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
