"""MinIO as a plain process: the S3 server that the real stack's tests store to."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from minio import Minio as Client
from minio.deleteobjects import DeleteObject
from minio.error import MinioException
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError

from tests.support.ports import LOOPBACK, free_port
from tests.support.process import Process

REGION = "us-east-1"
_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 5.0


class Minio:
    """A server on a loopback port that keeps through ``stop`` and ``start``, as does its data."""

    def __init__(self, binary: Path, folder: Path, log_path: Path) -> None:
        self.access_key = "tests-" + secrets.token_hex(4)
        self.secret_key = secrets.token_hex(16)
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.endpoint = f"http://{self.address}"
        data = folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        own_settings = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "HOME": str(folder),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MINIO_")}
        self.process = Process(
            "MinIO",
            [str(binary), "server", str(data), "--address", self.address, "--quiet"],
            log_path=log_path,
            env={**inherited, **own_settings},
            cwd=folder,
        )

    def start(self) -> None:
        """Start it and wait until it serves requests.

        "Ready" by its own account is not enough: a request a moment later may be told to come again in a minute, and a
        client that heeds that sleeps through it.
        """
        self.process.start()
        self.process.wait_until(self._answers, timeout_s=_START_TIMEOUT_S, what="answering requests")

    def stop(self) -> None:
        """Stop it; connections are closed, then refused."""
        self.process.stop()

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()

    def restart(self) -> None:
        """Stop and start on the same port and data."""
        self.stop()
        self.start()

    def client(self, *, retries: bool = True) -> Client:
        """A client with the server's own credentials."""
        return Client(
            self.address,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            region=REGION,
            http_client=None if retries else PoolManager(timeout=_ANSWER_TIMEOUT_S, retries=False),
        )

    def _answers(self) -> bool:
        try:
            self.client(retries=False).list_buckets()
        except (MinioException, HTTPError):
            return False
        return True

    def keys(self, bucket: str) -> list[str]:
        """The keys of every object in the bucket, sorted."""
        return sorted(entry.object_name or "" for entry in self.client().list_objects(bucket, recursive=True))

    def temporary_bucket(self, name: str) -> Iterator[str]:
        """A bucket that is emptied and removed afterwards (for a fixture)."""
        self.client().make_bucket(name)
        yield name
        client = self.client()
        doomed = [DeleteObject(key) for key in self.keys(name)]
        for error in client.remove_objects(name, doomed):
            raise RuntimeError(f"could not remove {error.name} from {name}: {error.message}")
        client.remove_bucket(name)
