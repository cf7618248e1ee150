"""Lets readers that ask at the same time share one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from tasks.errors import RecordsUnavailable

T = TypeVar("T")


class SharedReads(Generic[T]):
    """Gathers keys while a fetch is under way, and fetches them together when it is done.

    `fetch` answers in the order of its keys; RecordsUnavailable from it reaches every reader of that batch.
    """

    def __init__(self, fetch: Callable[[list[str]], Awaitable[list[T]]]) -> None:
        self._fetch = fetch
        self._asked: dict[str, list[asyncio.Future[T]]] = {}
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key: str) -> T:
        """The value of one key. A reader that is cancelled disturbs no other."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(answer)
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._answer())
        return await answer

    async def _answer(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                values = await self._fetch(list(asked))
            except RecordsUnavailable as error:
                for answer in (answer for answers in asked.values() for answer in answers if not answer.done()):
                    answer.set_exception(error)
                continue
            for answers, value in zip(asked.values(), values, strict=True):
                for answer in answers:
                    if not answer.done():
                        answer.set_result(value)
