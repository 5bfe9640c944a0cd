"""Waiting for what comes about by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(condition: Callable[[], Awaitable[object] | object], *, within_s: float = 10.0) -> None:
    """Ask until the answer is true; TimeoutError where it is not in time."""
    async with asyncio.timeout(within_s):
        while True:
            answer = condition()
            if await answer if isinstance(answer, Awaitable) else answer:
                return
            await asyncio.sleep(0.01)
