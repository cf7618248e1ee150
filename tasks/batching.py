"""Does with one call what many ask for at the same time: a round trip costs far more than one more item in it.

What is asked for within one turn of the event loop goes together. One call is under way at a time, and what is asked
for meanwhile gathers for the next: the busier it is, the larger the batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_ITEMS = 500
"""Items in one call, so that a server that runs it as one script is never busy with it for long."""


class Batches(Generic[Item, Answer]):
    """Gathers items, calls `do` with them, and gives each asker its own answer.

    `do` answers in the order of its items. What it raises reaches every asker of that batch, and no other.
    """

    def __init__(self, do: Callable[[list[Item]], Awaitable[Sequence[Answer]]], most_items: int = MOST_ITEMS) -> None:
        self._do, self._most_items = do, most_items
        self._asked: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Answer:
        """The answer for one item. An asker that is cancelled disturbs no other, and its item is done all the same."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._asked.append((item, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._asked:
            batch, self._asked = self._asked[: self._most_items], self._asked[self._most_items :]
            try:
                answers = await self._do([item for item, _ in batch])
            except Exception as error:
                for _, waiting in batch:
                    if not waiting.done():
                        waiting.set_exception(error)
                continue
            for (_, waiting), answer in zip(batch, answers, strict=True):
                if not waiting.done():
                    waiting.set_result(answer)
