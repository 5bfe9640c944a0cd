"""The real parts of one test run: started when asked for, put right after a test, stopped at the end."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from tests.support.artifacts import PartMissingError, kafka_jars, minio_binary
from tests.support.kafka import Kafka
from tests.support.kafka_security import KafkaSecurity
from tests.support.minio import Minio
from tests.support.postgres import Postgres
from tests.support.process import Process


class Part(Protocol):
    """A server that tests may take away and must find again."""

    process: Process

    def start(self) -> None:
        """Start it and wait until it serves."""

    def stop(self) -> None:
        """Stop it."""


_AnyPart = TypeVar("_AnyPart", bound=Part)


class Parts:
    """Kafka, MinIO and Postgres of one test run, each started once."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._started: dict[str, Part] = {}
        self._missing: dict[str, PartMissingError] = {}
        # Below /tmp and open to all: Postgres, which root must run as another user, has to reach its data.
        self._folder = Path(tempfile.mkdtemp(prefix="clearcall-tests-"))
        self._folder.chmod(0o755)

    def kafka(self) -> Kafka:
        """The broker; raises ``PartMissingError`` where it cannot be had."""
        return self._get("kafka", Kafka, self._start_kafka)

    def kafka_security(self) -> KafkaSecurity:
        """The broker's listeners for TLS and passwords; raises ``PartMissingError`` where they cannot be had."""
        security = self.kafka().security
        if security is None:
            raise self._missing["kafka_security"]
        return security

    def minio(self) -> Minio:
        """The S3 server; raises ``PartMissingError`` where it cannot be had."""
        return self._get("minio", Minio, lambda: self._start(Minio(minio_binary(), *self._places("minio"))))

    def postgres(self) -> Postgres:
        """The database server."""
        return self._get("postgres", Postgres, lambda: self._start(Postgres(*self._places("postgres"))))

    def put_right(self) -> None:
        """Resume what a test suspended and start what it stopped, so that the next test finds every part."""
        for part in self._started.values():
            if part.process.running:
                part.process.resume()
            else:
                part.start()

    def close(self) -> None:
        """Stop every part and remove its data; the logs stay."""
        for part in reversed(self._started.values()):
            part.stop()
        self._started.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _get(self, name: str, kind: type[_AnyPart], start: Callable[[], _AnyPart]) -> _AnyPart:
        if name in self._missing:
            raise self._missing[name]
        if name not in self._started:
            try:
                self._started[name] = start()
            except PartMissingError as missing:
                self._missing[name] = missing
                raise
        part = self._started[name]
        assert isinstance(part, kind)
        return part

    def _start_kafka(self) -> Kafka:
        jars = kafka_jars()
        try:
            security = KafkaSecurity(self._folder / "kafka-security")
        except PartMissingError as missing:
            # The broker serves all other tests without.
            self._missing["kafka_security"] = missing
            security = None
        return self._start(Kafka(jars, *self._places("kafka"), security=security))

    def _places(self, name: str) -> tuple[Path, Path]:
        return self._folder / name, self._log_folder / f"{name}.log"

    @staticmethod
    def _start(part: _AnyPart) -> _AnyPart:
        try:
            part.start()
        except BaseException:
            part.stop()
            raise
        return part


def real_parts_required() -> bool:
    """Whether a missing part fails its tests instead of skipping them (``CLEARCALL_REQUIRE_REAL=1``)."""
    return os.environ.get("CLEARCALL_REQUIRE_REAL", "") not in ("", "0")
