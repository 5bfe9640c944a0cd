"""Measures the whole pipeline, from call.recorded to call.cleaned, with one worker.

``python -m benchmarks.pipeline`` prints the tables of benchmarks/README.md; ``--smoke`` does the same in a minute, to
see that it still runs. ``--stack real`` takes Apache Kafka, Postgres and MinIO as the tests start them; without it the
embedded stack is measured. CPU times are the operating system's own, per process; latency is from the moment an event
is handed to the producer to the moment a consumer has its call.cleaned.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import soundfile
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from app import kafka, migrate
from app.embedded import EmbeddedStack
from app.embedded.ports import free_port
from app.parts import http_client, source_s3_config
from app.s3 import S3Client
from app.settings import Settings
from tests.support.parts import Parts
from tests.support.worker import real_settings

_EXAMPLES = Path(__file__).parent.parent / "examples"
_RATE_HZ = 8_000
_MIB = 2**20


@dataclass(frozen=True)
class Plan:
    """What is measured: calls of one length, some one after another, the rest all at once."""

    call_s: float
    one_by_one: int
    at_once: int


FULL = (Plan(30, 20, 200), Plan(60, 20, 100), Plan(600, 4, 16))
SMOKE = (Plan(30, 4, 12), Plan(60, 3, 0))
_MANY_EVENTS, _MANY_CALL_S = 10_000, 1.0


@dataclass
class Usage:
    """CPU seconds and memory of a worker's processes."""

    parent_cpu_s: float
    dsp_cpu_s: float
    parent_mib: float
    dsp_mib: tuple[float, ...]


@dataclass
class Outcome:
    """What a plan came to."""

    plan: Plan
    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0
    usage: Usage | None = None


class WorkerProcess:
    """One ``clearcall worker`` with its DSP processes."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(  # noqa: S603  (our own program)
            [str(Path(sys.executable).with_name("clearcall")), "worker"],
            env={"PATH": os.environ["PATH"], **environment},
            stdout=self._log,
            stderr=self._log,
        )
        self._tree = psutil.Process(self._process.pid)

    def usage(self) -> Usage:
        """CPU seconds since the start, and memory now."""
        children = self._tree.children()
        return Usage(
            parent_cpu_s=_cpu_s(self._tree),
            dsp_cpu_s=sum(_cpu_s(child) for child in children),
            parent_mib=self._tree.memory_info().rss / _MIB,
            dsp_mib=tuple(child.memory_info().rss / _MIB for child in children),
        )

    def stop(self) -> None:
        """End it as an operator would."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._log.close()

    def check(self) -> None:
        """Raise if it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the worker ended with {self._process.returncode}; see {self._log.name}")


class Bench:
    """Publishes calls and waits for what comes of them."""

    def __init__(self, settings: Settings, worker: WorkerProcess) -> None:
        self._settings = settings
        self._worker = worker
        self._count = 0

    async def __aenter__(self) -> Self:
        """Connect."""
        options = kafka.client_options(self._settings)
        self._producer = AIOKafkaProducer(**options, acks="all", linger_ms=0)
        self._consumer = AIOKafkaConsumer(
            self._settings.topic("call.cleaned"), **options, auto_offset_reset="latest", fetch_max_wait_ms=20
        )
        await self._producer.start()
        await self._consumer.start()
        await self._consumer.seek_to_end()
        self._http = http_client()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go."""
        await self._producer.stop()
        await self._consumer.stop()
        await self._http.aclose()

    async def put_recording(self, name: str, call_s: float, folder: Path) -> str:
        """Store a recording of the given length; answers its address."""
        path = folder / name
        _write_recording(path, call_s)
        store = S3Client(source_s3_config(self._settings), self._http)
        bucket = self._settings.source_s3_bucket
        await store.ensure_bucket(bucket)
        await store.put(bucket, name, path, media_type="audio/wav", only_new=False)
        return f"s3://{bucket}/{name}"

    async def run(self, plan: Plan, url: str) -> Outcome:
        """Measure one plan: latency on an idle worker, then throughput."""
        outcome = Outcome(plan)
        for _ in range(plan.one_by_one):
            started = time.perf_counter()
            await self._wait_for(await self._publish(url, 1), plan)
            outcome.latencies_s.append(time.perf_counter() - started)
        if plan.at_once:
            before, started = self._worker.usage(), time.perf_counter()
            await self._wait_for(await self._publish(url, plan.at_once), plan)
            outcome.wall_s = time.perf_counter() - started
            after = self._worker.usage()
            outcome.usage = Usage(
                after.parent_cpu_s - before.parent_cpu_s,
                after.dsp_cpu_s - before.dsp_cpu_s,
                after.parent_mib,
                after.dsp_mib,
            )
        return outcome

    async def _publish(self, url: str, count: int) -> set[str]:
        ids = set()
        for _ in range(count):
            self._count += 1
            call_id = f"bench-{os.getpid()}-{self._count}"
            event = {
                "schema_version": 1,
                "call_id": call_id,
                "recording": {"url": url},
                "channels": [{"role": "agent"}, {"role": "customer"}],
            }
            await self._producer.send(self._settings.topic("call.recorded"), json.dumps(event).encode())
            ids.add(call_id)
        await self._producer.flush()
        return ids

    async def _wait_for(self, ids: set[str], plan: Plan) -> None:
        give_up_at = time.monotonic() + 60 + len(ids) * (2 + plan.call_s / 10)
        left = set(ids)
        while left:
            batches = await self._consumer.getmany(timeout_ms=1000)
            for records in batches.values():
                left -= {json.loads(record.value)["call_id"] for record in records}
            self._worker.check()
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{len(left)} of {len(ids)} calls have not come back")


@asynccontextmanager
async def embedded_stack(folder: Path) -> AsyncIterator[dict[str, str]]:
    """The embedded stack; gives the settings of a worker on it."""
    async with EmbeddedStack(folder / "stack") as stack:
        yield stack.environment()


@asynccontextmanager
async def real_stack(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Apache Kafka, Postgres and MinIO as the tests start them."""
    parts = Parts(folder)
    try:
        broker = await asyncio.to_thread(parts.kafka)
        store = await asyncio.to_thread(parts.minio)
        database = await asyncio.to_thread(parts.postgres)
        await asyncio.to_thread(database.create_database, "bench")
        settings = real_settings(broker, store, database.dsn("bench"), name="bench", folder=folder)
        yield settings | {"CLEARCALL_SOURCE_S3_BUCKET": "bench-source"}
    finally:
        await asyncio.to_thread(parts.close)


async def measure(plans: Sequence[Plan], stack: str, *, many: bool) -> None:
    """Run the plans and print the tables."""
    with tempfile.TemporaryDirectory(prefix="clearcall-bench-") as name:
        folder = Path(name)
        os.chmod(folder, 0o755)  # noqa: PTH101, S103  (Postgres may run as another user)
        async with real_stack(folder) if stack == "real" else embedded_stack(folder) as parts:
            environment = {
                **parts,
                "CLEARCALL_WEB_PORT": str(free_port()),
                "CLEARCALL_LOG_FORMAT": "json",
                "CLEARCALL_WORKERS": str(os.cpu_count() or 1),
            }
            os.environ.update(environment)
            settings = Settings()
            await migrate.upgrade(settings.dsn)
            await kafka.create_topics(settings)
            worker = WorkerProcess(environment, folder / "worker.log")
            try:
                await _measure_worker(settings, worker, plans, folder, stack, many=many)
            except BaseException:
                print((folder / "worker.log").read_text(errors="replace")[-4000:], file=sys.stderr)
                raise
            finally:
                worker.stop()


async def _measure_worker(
    settings: Settings, worker: WorkerProcess, plans: Sequence[Plan], folder: Path, stack: str, *, many: bool
) -> None:
    async with Bench(settings, worker) as bench:
        warm_up = Plan(5, 4, 0)
        await bench.run(warm_up, await bench.put_recording("warm-up.wav", warm_up.call_s, folder))
        _print_machine(stack, settings.workers)
        _print_heading()
        for plan in plans:
            url = await bench.put_recording(f"call-{plan.call_s:g}.wav", plan.call_s, folder)
            _print_row(await bench.run(plan, url), settings.workers)
        if many:
            url = await bench.put_recording("many.wav", _MANY_CALL_S, folder)
            outcome = await bench.run(Plan(_MANY_CALL_S, 0, _MANY_EVENTS), url)
            _print_row(outcome, settings.workers)
            assert outcome.usage is not None  # noqa: S101  (it had calls at once)
            print(f"\nParent after {_MANY_EVENTS:,} events: {outcome.usage.parent_mib:.0f} MiB resident.")


def _print_machine(stack: str, workers: int) -> None:
    described = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in described if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    print(
        f"{stack} stack, one worker with {workers} DSP processes; {os.cpu_count()} cores ({model}), "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}\n"
    )


def _print_heading() -> None:
    print(
        "| call | latency p50 / p95 (n) | calls/s | audio hours per hour and core | CPU outside dsp, a call | share | "
        "memory: parent / DSP processes |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")


def _print_row(outcome: Outcome, workers: int) -> None:
    plan, usage = outcome.plan, outcome.usage
    latency = "-"
    if outcome.latencies_s:
        p95 = sorted(outcome.latencies_s)[max(0, round(0.95 * len(outcome.latencies_s)) - 1)]
        latency = f"{statistics.median(outcome.latencies_s):.2f} / {p95:.2f} s ({len(outcome.latencies_s)})"
    cells: list[str] = ["-"] * 5
    if usage is not None:
        total_s = usage.parent_cpu_s + usage.dsp_cpu_s
        cells = [
            f"{plan.at_once / outcome.wall_s:.1f} (n={plan.at_once})",
            f"{plan.at_once * plan.call_s / outcome.wall_s / workers:.0f}",
            f"{1000 * usage.parent_cpu_s / plan.at_once:.1f} ms",
            f"{100 * usage.parent_cpu_s / total_s:.0f} %",
            f"{usage.parent_mib:.0f} / {' + '.join(f'{mib:.0f}' for mib in usage.dsp_mib)} MiB",
        ]
    print(f"| {plan.call_s:g} s | {latency} | " + " | ".join(cells) + " |", flush=True)


def _write_recording(path: Path, call_s: float) -> None:
    """The example calls one after another, cut to a length."""
    calls: list[Any] = [soundfile.read(file, always_2d=True)[0] for file in sorted(_EXAMPLES.glob("*.wav"))]
    tape = np.concatenate(calls)
    frames = round(call_s * _RATE_HZ)
    samples = np.tile(tape, (frames // tape.shape[0] + 1, 1))[:frames]
    soundfile.write(path, samples, _RATE_HZ, format="WAV", subtype="ULAW")


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a minute, to see that it still runs")
    parser.add_argument("--stack", choices=("embedded", "real"), default="embedded")
    parser.add_argument(
        "--many", action="store_true", help=f"also {_MANY_EVENTS:,} short calls, for the memory"
    )
    arguments = parser.parse_args()
    asyncio.run(measure(SMOKE if arguments.smoke else FULL, arguments.stack, many=arguments.many))


if __name__ == "__main__":
    main()
