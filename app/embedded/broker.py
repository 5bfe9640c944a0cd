"""The embedded broker, seen from the program that starts it; ``mock_cluster.py`` is the process itself."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

from app.embedded.errors import EmbeddedError
from app.embedded.part import Part

_PROGRAM = Path(__file__).with_name("mock_cluster.py")
_STARTED_WITHIN_S = 30.0
_STOP_GRACE_S = 5.0


class EmbeddedBroker:
    """A volatile Kafka for one worker; ``folder`` holds only the file with its address."""

    def __init__(self, folder: Path, *, log_path: Path) -> None:
        if importlib.util.find_spec("confluent_kafka") is None:
            raise EmbeddedError(
                "The embedded broker is not installed (package confluent-kafka): `make venv`, or "
                "`pip install --require-hashes -r requirements/embedded.txt`."
            )
        self._address_file = folder / "broker.address"
        self.part = Part(
            "Broker (librdkafka's mock cluster)",
            [sys.executable, "-I", _PROGRAM, str(os.getpid()), self._address_file],
            log_path=log_path,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd=folder,
            signals=(signal.SIGTERM, signal.SIGKILL),
        )

    @property
    def bootstrap(self) -> str:
        """``host:port``; there once it is started."""
        return self._address_file.read_text().strip()

    async def start(self) -> None:
        """Start it and wait until it has told its address. Raises EmbeddedError."""
        self._address_file.unlink(missing_ok=True)
        self.part.start()
        await self.part.wait_until(self._has_told, timeout_s=_STARTED_WITHIN_S)

    async def stop(self) -> None:
        """Stop it; what it held is gone."""
        await self.part.stop(grace_s=_STOP_GRACE_S)
        self._address_file.unlink(missing_ok=True)

    async def _has_told(self) -> bool:
        return self._address_file.exists()
