"""The real application on a real socket, on a thread of its own, so that tests speak to it like any other client."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import uvicorn

from service.app import create_app
from service.bounded_headers import BoundedHeaders
from service.settings import ServiceSettings
from tasks.actor import ACTORS
from tasks.catalog import keys
from tasks.catalog import tasks as rows
from tasks.catalog.keys import ALL_SCOPES, Scope
from tasks.parts import Parts
from tasks.runner import Delivery, perform
from tasks.settings import TaskSettings

T = TypeVar("T")
DEADLINE_SECONDS = 30.0


class Served:
    """A running application. `parts` are of the test's own, on the same data, as a worker would have them."""

    def __init__(self, url: str, parts: Parts, loop: asyncio.AbstractEventLoop) -> None:
        self.url, self.parts, self._loop = url, parts, loop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs it on the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(DEADLINE_SECONDS)

    def key(self, owner: str, *scopes: Scope) -> str:
        """A new key of this owner, with all scopes if none are named."""
        text = keys.new_key()

        async def add() -> None:
            async with self.parts.catalog.write() as transaction:
                await keys.add(transaction, text, owner, scopes or ALL_SCOPES, self.parts.clock.now())

        self.run(add())
        return text

    def client(self, key: str = "") -> httpx.Client:
        """A client with this key, or without one."""
        return httpx.Client(base_url=self.url, headers={"X-API-Key": key} if key else {}, timeout=DEADLINE_SECONDS)

    def work_off(self, task_id: str) -> None:
        """Does what a worker would do with this task's message."""

        async def work() -> None:
            async with self.parts.catalog.read() as connection:
                row = await rows.get(connection, task_id)
            assert row is not None, "the task has no row"
            delivery = Delivery(task_id=task_id, attempt=row.attempt, context=row.context)
            await perform(self.parts, ACTORS[row.actor], delivery, row.arguments)

        self.run(work())

    def task_ids(self) -> set[str]:
        """The ids of all tasks in the catalog."""

        async def ids() -> set[str]:
            async with self.parts.catalog.read() as connection:
                return set((await connection.exec_driver_sql("SELECT id FROM tasks")).scalars())

        return self.run(ids())

    def staged_names(self) -> list[str]:
        """What lies in the staging folder."""
        return sorted(path.name for path in self.parts.settings.staging_folder.iterdir())


@contextmanager
def served(task_settings: TaskSettings, **settings: Any) -> Iterator[Served]:
    """Runs the application until the block ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(ServiceSettings(**settings), task_settings),
        http=BoundedHeaders,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_serve, args=(loop, server, listening), name="served")
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    parts = None
    try:
        httpx.get(f"{url}/livez", timeout=DEADLINE_SECONDS).raise_for_status()
        opened = asyncio.run_coroutine_threadsafe(Parts.open(task_settings), loop)
        parts = opened.result(DEADLINE_SECONDS)
        yield Served(url, parts, loop)
    finally:
        if parts is not None:
            asyncio.run_coroutine_threadsafe(parts.close(), loop).result(DEADLINE_SECONDS)
        server.should_exit = True
        thread.join(DEADLINE_SECONDS)


def _serve(loop: asyncio.AbstractEventLoop, server: uvicorn.Server, listening: socket.socket) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(server.serve(sockets=[listening]))
    finally:
        listening.close()
        loop.close()
