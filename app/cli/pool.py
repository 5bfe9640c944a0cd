"""Processes that work on recordings side by side: one that dies or hangs costs its own recording, and no other.

Not ``concurrent.futures``: there one process that dies fails every recording in work, and the threads that serve the
processes live on until the interpreter ends. Here a process is a child with a pipe, and this thread alone serves them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Final, Generic, TypeVar

T = TypeVar("T")

THREADS_OF_LIBRARIES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Read when numpy is first imported. One thread each: the processes are already as many as the cores."""

_LOOK_EVERY_S: Final = 60.0


@dataclass(frozen=True)
class Lost:
    """Instead of an answer."""

    why: str
    """For the person who reads it."""


def side_by_side(
    tasks: Sequence[Callable[[], T]], processes: int, patience_s: Sequence[float]
) -> Generator[tuple[int, T | Lost], None, None]:
    """Do tasks in so many processes; answers come as they are there, each with the index of its task.

    However this ends, no process is left.

    Parameters
    ----------
    tasks
        What to do; it is pickled.
    processes
        How many at a time, from 1.
    patience_s
        How long each task may take, in seconds; then its process is killed.
    """
    waiting = deque(range(len(tasks)))
    crew: list[_Process[T]] = []

    def occupy(process: _Process[T]) -> None:
        if waiting:
            index = waiting.popleft()
            process.begin(index, tasks[index], patience_s[index])

    try:
        for _ in range(min(processes, len(tasks))):
            crew.append(_Process())
            occupy(crew[-1])
        while busy := [process for process in crew if process.index is not None]:
            left_s = min(process.due for process in busy) - time.monotonic()
            wait([process.connection for process in busy], timeout=min(max(0.0, left_s), _LOOK_EVERY_S))
            for process in busy:
                if (ended := process.ended()) is not None:
                    occupy(process)
                    yield ended
    finally:
        with _ctrl_c_later():
            for process in crew:
                process.end()


class _Process(Generic[T]):
    """One child, started anew after each death."""

    def __init__(self) -> None:
        self.index: int | None = None
        """Of the task that it is at; None: it waits for one."""
        self.due = 0.0
        """When its answer is given up, on the monotonic clock."""
        self._start()

    def begin(self, index: int, task: Callable[[], T], patience_s: float) -> None:
        """Give it a task."""
        self.index, self.due = index, time.monotonic() + patience_s
        with suppress(OSError):  # that it has died is told by ``ended``
            self.connection.send(task)

    def ended(self) -> tuple[int, T | Lost] | None:
        """The answer to its task, or why there is none; None: it is still at it."""
        if self.index is None:
            return None
        answer: T | Lost
        if self.connection.poll():
            try:
                answer = self.connection.recv()
            except (EOFError, OSError):
                answer = Lost("The process that worked on it died; memory may have run out.")
                self._restart()
        elif time.monotonic() >= self.due:
            answer = Lost("It was given up: the process that worked on it seemed to hang.")
            self._restart()
        else:
            return None
        index, self.index = self.index, None
        return index, answer

    def end(self) -> None:
        """Leave no trace of it. What it has open is nobody else's, so nothing is asked of it."""
        self._child.kill()
        self._child.join()
        self._child.close()
        self.connection.close()

    def _start(self) -> None:
        # Not forked: threads of ours, and of the libraries, would be missing in the child.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs,), daemon=True)
        # Before the block: where the first child's start has to start it, it lets Ctrl-C through again.
        resource_tracker.ensure_running()
        with _ctrl_c_later():
            self._child.start()
        theirs.close()  # else its end would not be seen

    def _restart(self) -> None:
        self.end()
        self._start()


def _serve(connection: Connection) -> None:
    for name in THREADS_OF_LIBRARIES:
        os.environ.setdefault(name, "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        connection.send(task())


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back for the length of the block; processes started in it never get it: their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
