"""A cable between a client and a server that a test can cut, or leave plugged in while nothing passes any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536


class Cable:
    """Forwards each connection; used through `laid_to`."""

    def __init__(self, port: int) -> None:
        self._to_port, self._plugged = port, True
        self._thawed: list[asyncio.Event] = []
        self._flows = _set_event()
        self._ends: set[asyncio.StreamWriter] = set()
        self._forwarding: set[asyncio.Task[None]] = set()
        self.port = self.accepted = 0

    def cut(self) -> None:
        """Ends every connection at once and lets no new one through until `mend`."""
        self._plugged = False
        self.jolt()

    def jolt(self) -> None:
        """Ends every connection at once; new ones are welcome."""
        for end in self._ends:
            end.transport.abort()

    def freeze(self) -> None:
        """Nothing passes the present connections any more and nobody is told, as after a lost route; new ones work."""
        self.lose_route()
        self.find_route()

    def lose_route(self) -> None:
        """Nothing passes any more, neither what is connected nor what comes, and nobody is told."""
        self._flows.clear()

    def find_route(self) -> None:
        """New connections work; those from before and from meanwhile stay dead."""
        self._thawed.append(self._flows)
        self._flows = _set_event()

    def mend(self) -> None:
        """All is as it was; what was frozen on its way arrives now."""
        self._plugged = True
        while self._thawed:
            self._thawed.pop().set()

    def accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        self.accepted += 1
        forwarding = asyncio.ensure_future(self._forward(from_client, to_client))
        self._forwarding.add(forwarding)
        forwarding.add_done_callback(self._forwarding.discard)

    async def pull(self) -> None:
        """Ends every connection for good."""
        self.mend()
        self.jolt()
        await asyncio.gather(*self._forwarding)

    async def _forward(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._ends.add(to_client)
        try:
            if not self._plugged:
                return
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._ends.add(to_server)
            ways = ((from_client, to_server), (from_server, to_client))
            passing = [asyncio.ensure_future(self._pass(*way, self._flows)) for way in ways]
            try:
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in passing:
                    way.cancel()
                self._hang_up(to_server)
        except OSError:
            return
        finally:
            self._hang_up(to_client)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flows: asyncio.Event) -> None:
        try:
            while data := await source.read(CHUNK_BYTES):
                await flows.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            return

    def _hang_up(self, end: asyncio.StreamWriter) -> None:
        self._ends.discard(end)
        end.transport.abort()


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@asynccontextmanager
async def laid_to(port: int) -> AsyncIterator[Cable]:
    """A cable to the server on this port; clients connect to `cable.port`."""
    cable = Cable(port)
    server = await asyncio.start_server(cable.accept, "127.0.0.1", 0)
    cable.port = server.sockets[0].getsockname()[1]
    try:
        yield cable
    finally:
        server.close()
        await cable.pull()
