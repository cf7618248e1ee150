from __future__ import annotations

import asyncio

import pytest

from tasks.batching import Batches
from tests.waiting import eventually


class Doubling:
    """Doubles numbers, when it is let; fails for a batch that holds a negative one."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self, numbers: list[int]) -> list[int]:
        self.batches.append(numbers)
        await self.may_answer.wait()
        if min(numbers) < 0:
            raise ValueError(numbers)
        return [2 * number for number in numbers]


@pytest.fixture
def doubling() -> Doubling:
    return Doubling()


async def test_what_is_asked_for_in_one_turn_of_the_loop_goes_together(doubling: Doubling) -> None:
    batches = Batches(doubling)
    assert await asyncio.gather(*(batches.ask(number) for number in range(100))) == list(range(0, 200, 2))
    assert doubling.batches == [list(range(100))]
    assert await batches.ask(7) == 14


async def test_what_comes_while_a_call_is_under_way_gathers_for_the_next(doubling: Doubling) -> None:
    batches = Batches(doubling)
    doubling.may_answer.clear()
    first = asyncio.create_task(batches.ask(1))
    await eventually(lambda: doubling.batches == [[1]])
    later = [asyncio.create_task(batches.ask(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    doubling.may_answer.set()
    assert await asyncio.gather(first, *later) == [2, 4, 6]
    assert doubling.batches == [[1], [2, 3]]


async def test_a_batch_has_an_end(doubling: Doubling) -> None:
    batches = Batches(doubling, most_items=2)
    assert await asyncio.gather(*(batches.ask(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert doubling.batches == [[0, 1], [2, 3], [4]]


async def test_an_error_reaches_every_asker_of_its_batch_and_no_other(doubling: Doubling) -> None:
    batches = Batches(doubling, most_items=2)
    answers = await asyncio.gather(*(batches.ask(number) for number in (1, -1, 2)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError, ValueError, int]
    assert await batches.ask(3) == 6


async def test_an_asker_that_leaves_disturbs_nobody_and_its_item_is_done(doubling: Doubling) -> None:
    batches = Batches(doubling)
    asking = [asyncio.create_task(batches.ask(number)) for number in range(4)]
    await asyncio.sleep(0)
    asking[1].cancel()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [answers[0], *answers[2:]] == [0, 4, 6]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert doubling.batches == [[0, 1, 2, 3]]
