"""The embedded stack as it runs: real processes, over folders of the test's own."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from agents.errors import Outage
from app.embedded import EmbeddedError, EmbeddedStack
from app.s3 import S3Client, S3Config, S3Error
from tests.support.ports import free_port
from tests.support.worker import clearcall_environment, clearcall_program

_GONE_WITHIN_S = 10.0
_HOLD = """
import asyncio, json, sys
from pathlib import Path
from app.embedded import EmbeddedStack

async def main():
    async with EmbeddedStack(Path(sys.argv[1])) as stack:
        print(json.dumps(stack.environment()), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def _programs_over(folder: Path) -> list[psutil.Process]:
    """Every program that has the folder in its command line or runs in it, but not this one."""
    found = []
    for process in psutil.process_iter():
        try:
            told = [process.cwd(), *process.cmdline()]
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in told):
            found.append(process)
    return found


def _wait_until_nothing_runs(folder: Path) -> None:
    deadline = time.monotonic() + _GONE_WITHIN_S
    while left := _programs_over(folder):
        assert time.monotonic() < deadline, f"still running: {[process.cmdline() for process in left]}"
        time.sleep(0.05)


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A data folder; when the test is over, nothing may be running over it."""
    folder = tmp_path / "stack"
    yield folder
    _wait_until_nothing_runs(folder)


def _store(http: httpx.AsyncClient, environment: dict[str, str], *, secret: str | None = None) -> S3Client:
    config = S3Config(
        part="S3",
        endpoint=environment["CLEARCALL_S3_ENDPOINT"],
        region=environment["CLEARCALL_S3_REGION"],
        access_key=environment["CLEARCALL_S3_ACCESS_KEY"],
        secret_key=secret or environment["CLEARCALL_S3_SECRET_KEY"],
    )
    return S3Client(config, http)


async def _execute(environment: dict[str, str], statement: str) -> object:
    connection = await asyncpg.connect(environment["CLEARCALL_POSTGRES_DSN"], timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def _there_and_back(bootstrap: str, value: bytes) -> bytes:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait("call.recorded", value)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer("call.recorded", bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), 20)
    finally:
        await consumer.stop()
    received: bytes = record.value
    return received


async def test_every_part_answers_to_the_settings_and_is_gone_afterwards(data: Path) -> None:
    async with EmbeddedStack(data) as stack, httpx.AsyncClient() as http:
        environment = stack.environment()
        assert await _execute(environment, "SELECT current_database()") == "clearcall"
        assert await _there_and_back(environment["CLEARCALL_KAFKA_BOOTSTRAP"], b"hello") == b"hello"
        store = _store(http, environment)
        assert await store.has_bucket(environment["CLEARCALL_S3_BUCKET"])
        assert await store.has_bucket(environment["CLEARCALL_SOURCE_S3_BUCKET"])
        with pytest.raises((S3Error, Outage)):
            await _store(http, environment, secret="wrong").has_bucket("clearcall")
        assert len(_programs_over(data)) >= 3
    _wait_until_nothing_runs(data)


async def test_the_next_stack_on_the_same_folder_goes_on_with_the_data_and_the_keys(data: Path) -> None:
    async with EmbeddedStack(data) as stack:
        first = stack.environment()
        await _execute(first, "CREATE TABLE kept AS SELECT 42 AS answer")
        (stack.outputs / "kept.txt").write_text("kept")
    async with EmbeddedStack(data) as stack, httpx.AsyncClient() as http:
        second = stack.environment()
        assert await _execute(second, "SELECT answer FROM kept") == 42
        assert (await http.get(f"{second['CLEARCALL_S3_ENDPOINT']}/clearcall/kept.txt")).status_code in (
            400,
            403,
        )
        assert second["CLEARCALL_S3_SECRET_KEY"] == first["CLEARCALL_S3_SECRET_KEY"]
        assert (stack.outputs / "kept.txt").read_text() == "kept"


async def test_a_fresh_stack_forgets_what_was_there_but_touches_nothing_else(data: Path) -> None:
    data.mkdir()
    (data / "notes.txt").write_text("mine")
    async with EmbeddedStack(data) as stack:
        await _execute(stack.environment(), "CREATE TABLE kept AS SELECT 42 AS answer")
        (stack.outputs / "old.flac").write_text("old")
    async with EmbeddedStack(data, fresh=True) as stack:
        assert await _execute(stack.environment(), "SELECT to_regclass('kept')") is None
        assert not (stack.outputs / "old.flac").exists()
    assert (data / "notes.txt").read_text() == "mine"


async def test_keys_and_data_are_for_their_owner_alone(data: Path) -> None:
    async with EmbeddedStack(data):
        assert stat.S_IMODE((data / "secrets.json").stat().st_mode) == 0o600
        for folder in ("s3", "logs", "postgres"):
            assert stat.S_IMODE((data / folder).stat().st_mode) == 0o700
        secrets = json.loads((data / "secrets.json").read_text()).values()
        told = [word for process in _programs_over(data) for word in process.cmdline()]
        assert not [word for word in told if any(secret in word for secret in secrets)]


async def test_a_second_stack_on_the_same_folder_is_refused_and_told_whose_it_is(data: Path) -> None:
    async with EmbeddedStack(data) as stack:
        with pytest.raises(EmbeddedError, match=rf"in use by process {os.getpid()}.*--data"):
            await EmbeddedStack(data).__aenter__()
        assert await _execute(stack.environment(), "SELECT 1") == 1


async def test_a_part_that_ends_by_itself_is_named_with_its_log(data: Path) -> None:
    async with EmbeddedStack(data) as stack:
        ended = asyncio.create_task(stack.part_ended())
        (store,) = [process for process in _programs_over(data) if "rclone" in process.name()]
        store.kill()
        told = await asyncio.wait_for(ended, 5)
    assert "S3 (rclone) ended (signal SIGKILL)" in told
    assert str(data / "logs" / "s3.log") in told


async def test_a_part_that_does_not_start_is_named_and_the_others_are_stopped(data: Path) -> None:
    async with EmbeddedStack(data):
        pass
    (data / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match=r"(?s)Postgres ended.*postgres\.log.*no_such_setting"):
        await EmbeddedStack(data).__aenter__()
    _wait_until_nothing_runs(data)


async def test_files_of_another_postgres_are_refused_with_both_versions(data: Path) -> None:
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match=r"made by Postgres 9, and this is Postgres \d\d"):
        await EmbeddedStack(data).__aenter__()


async def test_an_interrupted_first_start_leaves_nothing_that_looks_whole(data: Path) -> None:
    start = asyncio.create_task(EmbeddedStack(data).__aenter__())
    await asyncio.sleep(0.1)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    _wait_until_nothing_runs(data)
    async with EmbeddedStack(data) as stack:
        assert await _execute(stack.environment(), "SELECT 1") == 1


async def test_a_server_that_was_left_over_is_ended_before_its_files_are_opened(data: Path) -> None:
    async with EmbeddedStack(data):
        pass
    left_over = subprocess.Popen(  # noqa: S603
        # It heeds SIGINT, as Postgres does, also where the tests run in the background of a shell that has it ignored.
        [
            *(sys.executable, "-c"),
            "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); time.sleep(60)",
            *("-D", str(data / "postgres")),
        ]
    )
    (data / "postgres" / "postmaster.pid").write_text(f"{left_over.pid}\n{data / 'postgres'}\n")
    async with EmbeddedStack(data) as stack:
        assert left_over.wait(5) != 0
        assert await _execute(stack.environment(), "SELECT 1") == 1


async def test_a_number_in_the_pid_file_that_is_now_another_program_is_left_alone(data: Path) -> None:
    async with EmbeddedStack(data):
        pass
    with subprocess.Popen(["sleep", "60"]) as bystander:  # noqa: S607
        (data / "postgres" / "postmaster.pid").write_text(f"{bystander.pid}\n")
        async with EmbeddedStack(data) as stack:
            assert await _execute(stack.environment(), "SELECT 1") == 1
        assert bystander.poll() is None
        bystander.kill()


def test_nothing_outlives_a_parent_that_is_killed_and_the_data_is_taken_up_again(data: Path) -> None:
    async def read() -> object:
        async with EmbeddedStack(data) as stack:
            return await _execute(stack.environment(), "SELECT answer FROM kept")

    command = [sys.executable, "-c", _HOLD, str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603
        assert parent.stdout is not None
        environment = json.loads(parent.stdout.readline())
        asyncio.run(_execute(environment, "CREATE TABLE kept AS SELECT 42 AS answer"))
        parent.kill()
        parent.wait(10)
        # At once: the next stack waits for the old server to be gone by itself.
        assert asyncio.run(read()) == 42
    _wait_until_nothing_runs(data)


def test_up_leaves_nothing_running_whether_it_is_killed_or_told_to_stop(data: Path, tmp_path: Path) -> None:
    port, env_file, log = free_port(), tmp_path / "env", tmp_path / "up.log"
    up = _up_and_ready(data, port, env_file, log)
    try:
        assert len(_programs_over(tmp_path)) >= 5  # itself, three parts, the worker and what that has started
        up.kill()
        up.wait(10)
        _wait_until_nothing_runs(tmp_path)

        up = _up_and_ready(data, port, env_file, log)
        assert stat.S_IMODE(env_file.stat().st_mode) == 0o600
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        command = f"set -a; . {env_file}; set +a; {clearcall_program()} doctor --json"
        doctor = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)  # noqa: S603, S607
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        up.terminate()
        assert up.wait(40) == 0, log.read_text()
    finally:
        up.kill()
        up.wait(10)
    assert not env_file.exists()
    assert "volatile" in log.read_text()
    _wait_until_nothing_runs(tmp_path)


def _up_and_ready(data: Path, port: int, env_file: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start ``clearcall up`` and wait for the file with its settings; one that was left over is not taken for it."""
    env_file.write_text("left over by an earlier one")
    with log.open("wb") as output:
        up = subprocess.Popen(  # noqa: S603
            [clearcall_program(), "up", "--data", data, "--port", str(port), "--env-file", env_file],
            env=clearcall_environment({"CLEARCALL_WORKERS": "1"}),
            cwd=log.parent,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 60
    while not (env_file.exists() and "CLEARCALL_POSTGRES_DSN" in env_file.read_text()):
        assert up.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return up


def test_up_refuses_a_port_that_is_taken_before_it_starts_anything(data: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(  # noqa: S603
            [clearcall_program(), "up", "--data", data, "--port", str(port)],
            env=clearcall_environment({}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert not data.exists()


async def test_a_folder_that_cannot_be_used_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "stack").write_text("a file, not a folder")
    with pytest.raises(EmbeddedError, match=r"(?s)stack cannot be used.*--data"):
        await EmbeddedStack(tmp_path / "stack").__aenter__()
