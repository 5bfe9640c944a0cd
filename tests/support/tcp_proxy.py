"""A TCP proxy before a part: makes the part refuse, or fall silent, and come back on the same address."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.support.ports import LOOPBACK, free_port

_Result = TypeVar("_Result")
_CHUNK_BYTES = 64 * 1024


class TcpProxy:
    """Forwards a loopback port to another one until told otherwise.

    It runs on a thread of its own, so that a test that blocks its own event loop does not stall it.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"tcp-proxy-{self.port}", daemon=True
        )
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._forwards = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Listen and forward."""
        self._thread.start()
        self.forward()

    def forward(self) -> None:
        """The part is there: accept, and pass on what comes, held-back bytes first."""
        self._call(self._forward())

    def refuse(self) -> None:
        """The part is gone: every connection is reset, new ones are refused."""
        self._call(self._refuse())

    def black_hole(self) -> None:
        """The network is gone: connections stay or open, and nothing comes through in either direction."""
        self._call(self._black_hole())

    def stop(self) -> None:
        """Close everything and end the thread."""
        self._call(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _forward(self) -> None:
        self._forwards.set()
        await self._listen()

    async def _black_hole(self) -> None:
        self._forwards.clear()
        await self._listen()

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError):
                await self._connect_through(reader, writer)
        finally:
            self._writers.discard(writer)
            self._connections.discard(connection)
            writer.transport.abort()

    async def _connect_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._forwards.wait()
        target_reader, target_writer = await asyncio.open_connection(LOOPBACK, self.target_port)
        self._writers.add(target_writer)
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pump(reader, target_writer))
                both_ways.create_task(self._pump(target_reader, writer))
        except* OSError:
            pass
        finally:
            self._writers.discard(target_writer)
            target_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._forwards.wait()
            writer.write(chunk)
            await writer.drain()
        await self._forwards.wait()
        if writer.can_write_eof():
            writer.write_eof()
