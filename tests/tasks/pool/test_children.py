from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.app.trace import fast_trace_task
from celery.exceptions import Reject

from tasks.pool import children as module
from tasks.pool.child import ChildDied
from tests.tasks.pool import child_app
from tests.tasks.pool.child_app import fail, give, kill_itself, leave, meet, spin
from tests.tasks.pool.children_made import Make, begun_in, is_gone, making
from tests.waiting import eventually


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes children that end with the test."""
    async with making() as make:
        yield make


async def test_calls_run_in_a_process_that_stays(make: Make) -> None:
    children = make()
    first, second = await children.run(os.getpid), await children.run(os.getpid)
    assert first == second != os.getpid()


async def test_as_many_calls_run_at_a_time_as_there_are_processes(make: Make, tmp_path: Path) -> None:
    children = make(processes=3)
    together = [children.run(partial(meet, str(tmp_path), 3)) for _ in range(3)]
    assert len(set(await asyncio.gather(*together))) == 3
    pids = await asyncio.gather(*(children.run(os.getpid) for _ in range(12)))
    assert {str(pid) for pid in pids} <= {path.name for path in tmp_path.iterdir()}


async def test_lone_calls_never_share_a_process_with_others_nor_wait_for_them(make: Make, tmp_path: Path) -> None:
    children, folder = make(processes=1), tmp_path / "together"
    folder.mkdir()
    resting = await children.run(os.getpid)
    together = [children.run(partial(meet, str(folder), 2), alone=True) for _ in range(2)]
    lone = await asyncio.gather(*together)
    assert len({resting, *lone}) == 3
    busy = asyncio.create_task(children.run(partial(spin, str(tmp_path / "begun"))))
    assert await eventually(begun_in(tmp_path / "begun")) == resting
    assert await children.run(os.getpid, alone=True) in lone
    busy.cancel()


async def test_a_lone_call_is_not_blamed_for_what_an_earlier_one_has_done(make: Make) -> None:
    children, begun = make(), list[int]()
    undermined = await children.run(child_app.undermine, alone=True)
    assert await children.run(child_app.tread, alone=True, on_begin=begun.append) != undermined
    assert begun == [undermined]  # Celery is told of one begin


async def test_a_lone_call_that_kills_is_blamed_whoever_came_before(make: Make) -> None:
    children = make()
    innocent = await children.run(os.getpid, alone=True)
    with pytest.raises(ChildDied) as died:
        await children.run(partial(kill_itself, signal.SIGKILL), alone=True)
    assert died.value.pid != innocent


async def test_a_lone_process_ends_when_no_suspect_comes_any_more(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONE_REST_SECONDS", 0.1)
    children = make()
    await eventually(partial(is_gone, await children.run(os.getpid, alone=True)))
    assert await children.run(partial(give, "next"), alone=True) == "next"


async def test_lone_processes_are_as_few_as_it_says(make: Make, tmp_path: Path) -> None:
    children = make(lone_processes=1)
    file = tmp_path / "begun"
    first = asyncio.create_task(children.run(partial(spin, str(file)), alone=True))
    await eventually(begun_in(file))
    pids: list[int] = []
    second = asyncio.create_task(children.run(os.getpid, alone=True, on_begin=pids.append))
    assert await children.run(partial(give, 1)) == 1  # however long that takes, the second must not begin
    assert not pids
    first.cancel()
    assert await second == pids[0]


async def test_a_process_is_set_up_and_dismissed_as_a_prefork_child_is(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHILD_APP_GOODBYES", str(tmp_path / "goodbye"))
    children = make()
    assert await children.run(child_app.hosts) == ["me@here"]
    await children.close()
    assert (tmp_path / "goodbye").read_text() == "me@here 0"


async def test_celerys_tracer_runs_a_message_there(make: Make) -> None:
    request = {"id": "an-id", "delivery_info": {}, "properties": {}, "headers": {}, "ignore_result": True}
    body = '[[2, 3], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
    message = (child_app.add.name, "an-id", request, body, "application/json", "utf-8")
    failed, value, _ = await make().run(partial(fast_trace_task, *message))
    assert not failed
    assert str(value) == "[5, 'an-id', 'me@here']"


async def test_a_process_that_dies_ends_its_call_and_no_other(make: Make, tmp_path: Path) -> None:
    children = make()
    other = asyncio.create_task(children.run(partial(spin, str(tmp_path / "begun")), soft_seconds=20))
    pid = await eventually(begun_in(tmp_path / "begun"))
    for call, words in [(partial(kill_itself, signal.SIGSEGV), "signal 11"), (partial(leave, 0), "exitcode 0")]:
        with pytest.raises(WorkerLostError, match=words):
            await children.run(call)
    assert await children.run(partial(give, "next")) == "next"
    os.kill(pid, signal.SIGUSR1)
    assert await other == "tidied up"


async def test_a_lone_process_that_dies_says_with_which_code(make: Make) -> None:
    children = make()
    for call, exit_code in [(partial(kill_itself, signal.SIGKILL), -9), (partial(leave, 7), 7)]:
        with pytest.raises(ChildDied) as died:
            await children.run(call, alone=True)
        assert died.value.exit_code == exit_code


async def test_a_death_is_told_at_once_even_if_something_it_started_lives_on(make: Make, tmp_path: Path) -> None:
    children, file = make(), tmp_path / "grandchild"
    try:
        with pytest.raises(ChildDied):
            await children.run(partial(child_app.leave_a_grandchild, str(file)), alone=True)
    finally:
        os.kill(begun_in(file)(), signal.SIGKILL)


async def test_a_process_that_died_at_rest_is_replaced(make: Make) -> None:
    children = make()
    pid = await children.run(os.getpid)
    os.kill(pid, signal.SIGKILL)
    await eventually(partial(is_gone, pid))
    assert await children.run(os.getpid) != pid


async def test_the_soft_limit_is_raised_in_the_body_and_the_process_stays(make: Make, tmp_path: Path) -> None:
    children, told, pids = make(), asyncio.Event(), list[int]()
    answer = await children.run(
        partial(spin, str(tmp_path / "begun")), soft_seconds=0.2, on_begin=pids.append, on_soft_limit=told.set
    )
    assert answer == "tidied up"
    assert told.is_set()
    assert await children.run(os.getpid) == pids[0]


async def test_limits_do_not_count_while_a_call_waits(make: Make, tmp_path: Path) -> None:
    children = make(processes=1)
    first = asyncio.create_task(children.run(partial(spin, str(tmp_path / "begun")), soft_seconds=0.5))
    second = children.run(partial(give, "in time"), soft_seconds=0.2, hard_seconds=0.4)
    assert list(await asyncio.gather(first, second)) == ["tidied up", "in time"]


async def test_a_soft_limit_that_comes_late_hits_nobody(make: Make) -> None:
    children = make()
    pid = await children.run(os.getpid)
    for _ in range(100):
        os.kill(pid, signal.SIGUSR1)
        assert await children.run(partial(give, pid)) == pid


async def test_the_hard_limit_kills_the_process_and_the_next_call_has_another(make: Make, tmp_path: Path) -> None:
    children, pids = make(), list[int]()
    with pytest.raises(TimeLimitExceeded):
        await children.run(partial(spin, str(tmp_path / "begun")), hard_seconds=0.2, on_begin=pids.append)
    await eventually(partial(is_gone, pids[0]))
    assert await children.run(os.getpid) != pids[0]


async def test_a_timeout_of_the_bodys_own_is_not_the_limit(make: Make) -> None:
    with pytest.raises(TimeoutError, match="mine"):
        await make().run(partial(fail, TimeoutError("mine")), hard_seconds=20)


async def test_cancelling_kills_the_process_at_once(make: Make, tmp_path: Path) -> None:
    children, file = make(), tmp_path / "begun"
    call = asyncio.create_task(children.run(partial(spin, str(file))))
    pid = await eventually(begun_in(file))
    call.cancel()
    await asyncio.wait({call})
    assert call.cancelled()
    await eventually(partial(is_gone, pid), 1.0)


async def test_what_cannot_travel_fails_the_call_and_harms_nobody(make: Make) -> None:
    children = make()
    pid = await children.run(os.getpid)
    with pytest.raises(TypeError, match="pickle"):
        await children.run(child_app.give_a_lock)
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        await children.run(lambda: None)
    assert await children.run(os.getpid) == pid


async def test_megabytes_travel_both_ways(make: Make) -> None:
    value = os.urandom(20_000_000)
    assert await make().run(partial(give, value)) == value


async def test_a_process_is_replaced_after_its_share_of_calls(make: Make) -> None:
    children = make(processes=1, max_calls=3)
    pids = [await children.run(os.getpid) for _ in range(7)]
    assert [len(set(pids[at : at + 3])) for at in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what another process holds")
async def test_a_process_that_holds_too_much_is_replaced(make: Make) -> None:
    children = make(processes=1, max_memory_kib=300_000)
    pid = await children.run(os.getpid)
    assert await children.run(partial(child_app.hold, 400_000_000)) == pid
    assert await children.run(os.getpid) != pid


async def test_when_no_process_can_be_started_the_message_goes_back(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "START_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(module.log, "propagate", True)
    with pytest.raises(Reject) as rejected:
        await make("tests.tasks.pool.nothing:app").run(os.getpid, alone=True)
    assert rejected.value.requeue  # type: ignore[attr-defined]  # the stubs leave it out
    assert "A child process that imports tests.tasks.pool.nothing:app could not be started" in caplog.text
