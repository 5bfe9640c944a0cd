"""The real parts behave as the tests assume: they serve, go away, and come back with their data."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError

from tests.support.kafka import MEBIBYTE, Kafka
from tests.support.minio import Minio
from tests.support.ports import accepts_connections
from tests.support.postgres import Postgres
from tests.support.process import Process, ProcessFailedError
from tests.support.tcp_proxy import TcpProxy

REPOSITORY = Path(__file__).parents[2]


def python(code: str, log_path: Path) -> Process:
    """A small program as a process."""
    return Process("program", [sys.executable, "-u", "-c", textwrap.dedent(code)], log_path=log_path)


def test_a_process_that_ends_too_early_is_reported_with_its_log(tmp_path: Path) -> None:
    """The error names the program, its status and the last lines it wrote."""
    process = python("print('the port is taken'); raise SystemExit(3)", tmp_path / "log")
    process.start()
    with pytest.raises(ProcessFailedError, match=r"(?s)program ended with status 3 .*the port is taken"):
        process.wait_for_port(1, timeout_s=20)


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    """``stop`` ends it and its children all the same."""
    process = python(
        """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid)
        time.sleep(600)
        """,
        tmp_path / "log",
    )
    process.start()
    process.wait_until(lambda: "\n" in (tmp_path / "log").read_text(), timeout_s=20, what="ready")
    child_pid = int((tmp_path / "log").read_text())
    assert process.stop(grace_s=0.2) == -signal.SIGKILL
    assert wait_until_gone(child_pid)


def test_processes_end_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    """``kill -9`` of the program that started it leaves nothing behind, also where a thread that ended asked."""
    pid_file = tmp_path / "pid"
    starter = python(
        f"""
        import threading, time
        from pathlib import Path
        from tests.support.process import Process
        process = Process("sleeper", ["sleep", "600"], log_path=Path({str(tmp_path / "sleeper")!r}))
        asker = threading.Thread(target=process.start)
        asker.start()
        asker.join()
        time.sleep(0.3)
        assert process.running, "it ended with the thread that asked for it"
        Path({str(pid_file)!r}).write_text(f"{{process.pid}}\\n")
        time.sleep(600)
        """,
        tmp_path / "log",
    )
    starter.cwd = REPOSITORY
    starter.start()
    starter.wait_until(lambda: pid_file.exists() and "\n" in pid_file.read_text(), timeout_s=20, what="ready")
    starter.kill()
    assert wait_until_gone(int(pid_file.read_text()))


async def test_kafka_keeps_records_and_offsets_through_a_kill_and_a_restart(
    kafka: Kafka, unique_name: str
) -> None:
    """What was acknowledged is read again, and a group goes on where it had committed."""
    await kafka.create_topic(unique_name, partitions=2)
    await send(kafka, unique_name, [b"one", b"two"])
    assert await read_in_group(kafka, unique_name, 2) == {b"one", b"two"}
    await asyncio.to_thread(kafka.kill)
    assert not accepts_connections(kafka.port)
    await asyncio.to_thread(kafka.start)
    await send(kafka, unique_name, [b"three"])
    assert await read_in_group(kafka, unique_name, 1) == {b"three"}
    assert {record.value for record in await kafka.records(unique_name)} == {b"one", b"two", b"three"}


async def test_kafka_topics_have_their_own_size_limit(kafka: Kafka, unique_name: str) -> None:
    """A 2 MiB record passes where the topic allows 4 MiB, and is refused by the default of 1 MiB."""
    await kafka.create_topic(f"{unique_name}.large", max_message_bytes=4 * MEBIBYTE)
    await kafka.create_topic(f"{unique_name}.normal")
    large = os.urandom(2 * MEBIBYTE)
    await send(kafka, f"{unique_name}.large", [large])
    assert [record.value for record in await kafka.records(f"{unique_name}.large")] == [large]
    with pytest.raises(MessageSizeTooLargeError):
        await send(kafka, f"{unique_name}.normal", [large])


def test_minio_keeps_objects_through_a_kill_and_a_restart(minio: Minio, bucket: str) -> None:
    """The same address and credentials reach the same object after ``kill -9``."""
    minio.client().put_object(bucket, "acme/call.flac", io.BytesIO(b"sound"), 5)
    minio.kill()
    assert not accepts_connections(minio.port)
    minio.start()
    assert minio.keys(bucket) == ["acme/call.flac"]
    response = minio.client().get_object(bucket, "acme/call.flac")
    try:
        assert response.read() == b"sound"
    finally:
        response.close()
        response.release_conn()


@pytest.mark.parametrize("how", ["stop", "stop_immediately"])
async def test_postgres_keeps_what_is_committed(postgres: Postgres, empty_database: str, how: str) -> None:
    """A row that was committed before the server went away is there on the same address afterwards."""
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    await asyncio.to_thread(getattr(postgres, how))
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
        await connection.execute("SELECT 1")
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(empty_database)
    await asyncio.to_thread(postgres.start)
    again = await asyncpg.connect(empty_database)
    assert await again.fetchval("SELECT answer FROM kept") == 42
    await again.close()


async def test_a_copied_database_does_not_share_its_rows(
    postgres: Postgres, empty_database: str, unique_name: str
) -> None:
    """A template's tables are there in each copy, and a change in one copy is not seen in the other."""
    template = empty_database.rsplit("/", 1)[1]
    connection = await asyncpg.connect(empty_database)
    await connection.execute("CREATE TABLE things (name text)")
    await connection.close()
    copies = [postgres.create_database(f"{unique_name}_{number}", template=template) for number in range(2)]
    first, second = [await asyncpg.connect(dsn) for dsn in copies]
    await first.execute("INSERT INTO things VALUES ('mine')")
    assert await first.fetchval("SELECT count(*) FROM things") == 1
    assert await second.fetchval("SELECT count(*) FROM things") == 0
    await first.close()
    await second.close()
    for number in range(2):
        postgres.drop_database(f"{unique_name}_{number}")


async def test_a_suspended_part_answers_nothing_until_it_is_resumed(
    postgres: Postgres, empty_database: str
) -> None:
    """SIGSTOP leaves the port open and the client waiting; SIGCONT serves it."""
    postgres.process.suspend()
    with pytest.raises(TimeoutError):
        await asyncpg.connect(empty_database, timeout=0.5)
    postgres.process.resume()
    connection = await asyncpg.connect(empty_database, timeout=10)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_a_proxied_part_refuses_falls_silent_and_comes_back(
    postgres: Postgres, empty_database: str
) -> None:
    """Behind the proxy the same address hangs, serves and refuses; a held connection goes on after a silence."""
    proxy = TcpProxy(postgres.port)
    proxy.start()
    dsn = empty_database.replace(f":{postgres.port}/", f":{proxy.port}/")
    connection = await asyncpg.connect(dsn)
    proxy.black_hole()
    held = asyncio.create_task(connection.fetchval("SELECT 7"))
    with pytest.raises(TimeoutError):
        await asyncpg.connect(dsn, timeout=0.3)
    assert not held.done()
    proxy.forward()
    assert await held == 7
    proxy.refuse()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
        await connection.execute("SELECT 1")
    with pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(dsn)
    proxy.forward()
    again = await asyncpg.connect(dsn)
    assert await again.fetchval("SELECT 1") == 1
    await again.close()
    proxy.stop()


@pytest.mark.parametrize(("required", "outcome"), [("", "skipped=1"), ("1", "errors=1")])
def test_a_missing_part_is_skipped_with_its_reason_unless_required(
    required: str, outcome: str, tmp_path: Path
) -> None:
    """Without Java the Kafka tests are skipped and listed; with CLEARCALL_REQUIRE_REAL=1 they fail."""
    chosen = f"{Path(__file__)}::test_kafka_topics_have_their_own_size_limit"
    report = tmp_path / "report.xml"
    done = subprocess.run(  # noqa: S603 - our own test file
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", f"--junitxml={report}", chosen],
        cwd=REPOSITORY,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "CLEARCALL_REQUIRE_REAL": required},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    name, number = outcome.split("=")
    assert f'{name}="{number}"' in report.read_text(), done.stdout
    assert done.returncode == (1 if required else 0)
    assert "Apache Kafka needs a Java runtime" in done.stdout
    assert ("not run on this machine" in done.stdout) == (not required)


async def send(kafka: Kafka, topic: str, values: list[bytes]) -> None:
    """Send records and wait until the broker has confirmed each."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", max_request_size=4 * MEBIBYTE)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read_in_group(kafka: Kafka, topic: str, count: int) -> set[bytes | None]:
    """The next ``count`` values for the consumer group named as the topic, committed."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka.bootstrap,
        group_id=topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            values = {(await consumer.getone()).value for _ in range(count)}
        await consumer.commit()
    finally:
        await consumer.stop()
    return values


def wait_until_gone(pid: int, timeout_s: float = 10.0) -> bool:
    """Whether the process has ended (or is only waiting to be reaped) within the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False
