"""Asynchronous calls from the synchronous code of fixtures."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run_blocking(coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine to its end on a loop and a thread of its own, also where a loop is running already."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="run-blocking") as executor:
        return executor.submit(asyncio.run, coroutine).result()
