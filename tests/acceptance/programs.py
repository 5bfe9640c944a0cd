"""``clearcall``'s commands as processes, what they write to stdout kept apart and to the byte."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.worker import clearcall_environment, clearcall_program

_ENDED_WITHIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended."""

    status: int
    stdout: bytes
    stderr: str


async def run_clearcall(settings: Mapping[str, str], *arguments: str) -> Ended:
    """Run a command with these settings alone; ``TimeoutError``, and no process left, after a minute."""
    process = await asyncio.create_subprocess_exec(
        clearcall_program(),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clearcall_environment(settings),
    )
    try:
        async with asyncio.timeout(_ENDED_WITHIN_S):
            stdout, stderr = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(status=process.returncode, stdout=stdout, stderr=stderr.decode(errors="replace"))
