"""A cable between a client and a server that a test can cut, or leave plugged in while nothing passes any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536


class Cable:
    """Forwards each connection; used through `laid_to`."""

    def __init__(self, port: int) -> None:
        self._to_port, self._open, self._plugged = port, asyncio.Event(), True
        self._open.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self.port = 0

    def cut(self) -> None:
        """Ends every connection at once and lets no new one through until `mend`."""
        self._plugged = False
        self.jolt()

    def jolt(self) -> None:
        """Ends every connection at once; new ones are welcome."""
        for end in self._ends:
            end.transport.abort()

    def freeze(self) -> None:
        """Nothing passes any more and nobody is told: the half-open connection that a lost route leaves behind."""
        self._open.clear()

    def mend(self) -> None:
        """All is as it was; what was frozen on its way arrives now."""
        self._plugged = True
        self._open.set()

    async def forward(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        self._ends.add(to_client)
        try:
            if not self._plugged:
                return
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._ends.add(to_server)
            try:
                await asyncio.wait(
                    [
                        asyncio.ensure_future(self._pass(from_client, to_server)),
                        asyncio.ensure_future(self._pass(from_server, to_client)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                self._hang_up(to_server)
        except OSError:
            return
        finally:
            self._hang_up(to_client)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            return

    def _hang_up(self, end: asyncio.StreamWriter) -> None:
        self._ends.discard(end)
        end.transport.abort()


@asynccontextmanager
async def laid_to(port: int) -> AsyncIterator[Cable]:
    """A cable to the server on this port; clients connect to `cable.port`."""
    cable = Cable(port)
    server = await asyncio.start_server(cable.forward, "127.0.0.1", 0)
    cable.port = server.sockets[0].getsockname()[1]
    try:
        yield cable
    finally:
        server.close()
        cable.mend()
        cable.jolt()
