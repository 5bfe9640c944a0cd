"""The process executor: a fixed number of DSP processes, each with one call at a time.

Not ``concurrent.futures``: there, one killed process fails every call in flight, a running call cannot be ended, and
the children import the parent's program and carry its environment. Here a child is ``python -m dsp.child``: it
imports ``dsp`` alone, gets no credentials, and is killed and replaced on its own. See docs/decisions/executor.md.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from agents.errors import CallError, Outage
from app.scratch import PART as SCRATCH
from dsp import CleanReport, Limits, ResolvedChain, Source
from dsp.child import request

log = structlog.get_logger(__name__)

_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_READY_WITHIN_S = 60.0
# One thread a process: the processes are the parallelism.
_ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "MPLCONFIGDIR": "/nonexistent",
}

Deadline = Callable[[float], float]
"""From the recording's duration in seconds to the time its cleaning may take, in seconds."""


class ProcessDspExecutor:
    """See ``agents.ports.DspExecutor``.

    Args:
        processes: how many calls are cleaned side by side.
        limits: what a recording may ask for.
        deadline: wall-clock bound of one call.
        memory_bytes: address space a process may take; 0: unlimited.
        python: the interpreter of the processes.
    """

    def __init__(
        self,
        *,
        processes: int,
        limits: Limits,
        deadline: Deadline,
        memory_bytes: int,
        python: str = sys.executable,
    ) -> None:
        self._processes = processes
        self._limits = limits
        self._deadline = deadline
        self._memory_bytes = memory_bytes
        self._python = python
        self._idle: asyncio.LifoQueue[_Child] = asyncio.LifoQueue()
        self._all: set[_Child] = set()

    async def open(self) -> None:
        """Start the processes, side by side."""
        children = [_Child(self._python, self._memory_bytes) for _ in range(self._processes)]
        self._all.update(children)
        await asyncio.gather(*(child.start() for child in children))
        for child in children:
            self._idle.put_nowait(child)

    async def close(self) -> None:
        """End the processes; calls in them are lost."""
        await asyncio.gather(*(child.kill() for child in self._all))
        self._all.clear()

    async def clean(self, source: Source, chain: ResolvedChain, out_dir: Path) -> CleanReport:
        """Run the chain in a process of its own.

        Raises
        ------
            CallError: what the DSP refused; or the process crashed or took too long, and was replaced.
            Outage: no process could be started, or the scratch disk is full or failing.
        """
        child = await self._idle.get()
        try:
            answer = await self._ask(child, request(source, chain, out_dir, self._limits))
        finally:
            self._idle.put_nowait(child)
        if "outage" in answer:
            raise Outage(SCRATCH, answer["outage"])
        if "error" in answer:
            raise CallError(**answer["error"])
        return CleanReport.from_json(answer["report"])

    async def _ask(self, child: _Child, asked: dict[str, Any]) -> dict[str, Any]:
        """Ask, and kill the child whenever it is not known to be idle again; it is started anew when next needed."""
        answered = False
        try:
            answer = await self._exchange(child, asked)
            answered = True
        except _Crashed as crash:
            raise CallError(
                "dsp_crashed",
                f"The process that cleans the recording ended {crash}. The recording may be damaged on purpose, "
                "or too large for the memory.",
                retriable=True,
            ) from None
        finally:
            if not answered:
                await asyncio.shield(child.kill())
        return answer

    async def _exchange(self, child: _Child, asked: dict[str, Any]) -> dict[str, Any]:
        await child.start()
        deadline_s = self._deadline(0.0)
        try:
            async with asyncio.timeout(deadline_s) as timeout:
                started = asyncio.get_running_loop().time()
                await child.say(asked)
                while True:
                    answer = await child.hear()
                    if "duration_s" not in answer:
                        return answer
                    deadline_s = self._deadline(answer["duration_s"])
                    timeout.reschedule(started + deadline_s)
        except TimeoutError:
            raise CallError(
                "deadline_exceeded",
                f"Cleaning took longer than the {deadline_s:.0f} s that a recording of this length may take. "
                "Raise CLEARCALL_DEADLINE_S if the machine is slow.",
                retriable=True,
            ) from None


class _Crashed(Exception):
    """The child ended in the middle of a call; the message says how."""


class _Child:
    """One DSP process, started when first needed and after each death."""

    def __init__(self, python: str, memory_bytes: int) -> None:
        self._python = python
        self._memory_bytes = memory_bytes
        self._process: Process | None = None

    async def start(self) -> None:
        """Start the process unless it runs, and wait until it is ready. Raises Outage."""
        if self._process is not None and self._process.returncode is None:
            return
        try:
            self._process = await asyncio.create_subprocess_exec(
                self._python,
                "-I",  # neither the environment nor the folder we stand in decides what it imports
                "-m",
                "dsp.child",
                str(self._memory_bytes),
                str(os.getpid()),
                stdin=PIPE,
                stdout=PIPE,
                limit=_MOST_ANSWER_BYTES,
                start_new_session=True,  # a Ctrl-C during its imports is not for it
                env=_ENVIRONMENT,
            )
            async with asyncio.timeout(_READY_WITHIN_S):
                await self.hear()
        except (OSError, TimeoutError, _Crashed) as error:
            await self.kill()
            raise Outage("DSP process", f"it does not start: {error or type(error).__name__}") from error

    async def say(self, asked: dict[str, Any]) -> None:
        """Send a request."""
        stdin = self._running.stdin
        assert stdin is not None  # noqa: S101  (a pipe was asked for)
        with suppress(ConnectionError):  # hear() tells how it ended
            stdin.write(json.dumps(asked).encode() + b"\n")
            await stdin.drain()

    async def hear(self) -> dict[str, Any]:
        """The next answer. Raises _Crashed."""
        stdout = self._running.stdout
        assert stdout is not None  # noqa: S101  (a pipe was asked for)
        line = await stdout.readline()
        if not line.endswith(b"\n"):
            code = await self._running.wait()
            raise _Crashed(f"by signal {-code}" if code < 0 else f"with status {code}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def kill(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise _Crashed("before it was asked")
        return self._process
