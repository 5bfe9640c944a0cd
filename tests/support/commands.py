"""``clearcall``'s commands, run, and all that they write."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from typer.testing import CliRunner

from app.cli import build
from tests.support.worker import clearcall_environment, clearcall_program

COMMAND_WITHIN_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended: its exit status, and what it wrote to stdout and stderr in one."""

    status: int
    output: str

    @property
    def text(self) -> str:
        """The output without the breaks and columns of a narrow terminal."""
        return " ".join(self.output.split())


def clearcall_here(settings: Mapping[str, str], *arguments: str) -> Ended:
    """Run a command in this process, which saves the two seconds that Python takes to import all of it."""
    result = CliRunner().invoke(build(), list(arguments), env=dict(settings), catch_exceptions=False)
    return Ended(status=result.exit_code, output=result.output)


async def clearcall(settings: Mapping[str, str], *arguments: str) -> Ended:
    """Run a command as a process with these settings alone; ``TimeoutError`` after a minute."""
    process = await asyncio.create_subprocess_exec(
        clearcall_program(),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=clearcall_environment(settings),
    )
    try:
        async with asyncio.timeout(COMMAND_WITHIN_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(status=process.returncode, output=output.decode())
