"""The embedded broker's process: librdkafka's mock cluster, which speaks Kafka's protocol on loopback.

Usage: ``mock_cluster.py PARENT_PID ADDRESS_FILE``. The address file receives ``host:port`` once it listens.

What it is not: it keeps nothing on disk (5 MiB a partition, the oldest dropped), makes a topic with four partitions on
first use, knows one member a consumer group, no transactions and no administration. A process of its own because the
cluster lives in librdkafka's threads; a file of its own, run by its path, so that it starts without the application.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from confluent_kafka import Producer

_ANSWERS_WITHIN_S = 10.0
_LOOK_EVERY_S = 0.2


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM, or until the parent has ended."""
    parent_pid, address_file = int(arguments[0]), Path(arguments[1])
    stopped = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The cluster lives as long as this client.
    client = Producer({"test.mock.num.brokers": 1, "log_level": 4})
    (broker,) = client.list_topics(timeout=_ANSWERS_WITHIN_S).brokers.values()
    _write_whole(address_file, f"{broker.host}:{broker.port}\n")
    while not stopped and os.getppid() == parent_pid:
        time.sleep(_LOOK_EVERY_S)
        client.poll(0)


def _write_whole(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
