from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

import pytest

from tasks import bridge
from tasks.errors import CatalogUnavailable

LOOP_THREAD = "moorage-loop"


class FakeParts:
    """Stands in for the parts; says whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Opener:
    """Opens parts, or fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.opened: list[FakeParts] = []

    async def __call__(self) -> Any:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise CatalogUnavailable
        self.opened.append(FakeParts())
        return self.opened[-1]


@pytest.fixture
def opener() -> Iterator[Opener]:
    made = Opener()
    bridge.use(made, 0.05)
    yield made
    bridge.close()


async def thread_of(_parts: Any) -> str:
    return threading.current_thread().name


def loop_threads() -> int:
    return sum(thread.name == LOOP_THREAD for thread in threading.enumerate())


def test_work_of_many_threads_runs_on_one_loop_with_the_same_parts(opener: Opener) -> None:
    async def parts_of(parts: Any) -> Any:
        return parts

    with ThreadPoolExecutor(8) as threads:
        seen = {id(parts) for parts in threads.map(lambda _: bridge.run(parts_of), range(50))}
    assert seen == {id(opener.opened[0])}
    assert len(opener.opened) == 1
    assert bridge.run(thread_of) == LOOP_THREAD


def test_what_the_work_raises_comes_out(opener: Opener) -> None:
    async def fail(_parts: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bridge.run(fail)
    assert bridge.run(thread_of) == LOOP_THREAD


def test_parts_that_cannot_be_opened_are_tried_anew_and_leave_no_thread(opener: Opener) -> None:
    opener.failures = 3
    before = loop_threads()
    for _ in range(3):
        with pytest.raises(CatalogUnavailable):
            bridge.run(thread_of)
    assert loop_threads() == before
    assert bridge.run(thread_of) == LOOP_THREAD


def test_closing_closes_the_parts_and_ends_the_loop(opener: Opener) -> None:
    before = loop_threads()
    bridge.run(thread_of)
    bridge.close()
    assert opener.opened[0].closed
    assert loop_threads() == before
    bridge.close()


def test_what_still_runs_after_the_grace_is_cancelled_and_so_is_what_begins_later(opener: Opener) -> None:
    begun = threading.Event()

    async def hang(_parts: Any) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "handed back"
        return "never"

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(bridge.run, hang)
        assert begun.wait(5)
        bridge.stop_soon()
        assert running.result(5) == "handed back"
        assert threads.submit(bridge.run, hang).result(5) == "handed back"


def test_work_may_still_end_well_within_the_grace(opener: Opener) -> None:
    bridge.use(opener, 30.0)
    begun, may_end = threading.Event(), threading.Event()

    async def finish(_parts: Any) -> str:
        begun.set()
        await asyncio.to_thread(may_end.wait)
        return "done"

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(bridge.run, finish)
        assert begun.wait(5)
        bridge.stop_soon()
        may_end.set()
        assert running.result(5) == "done"


def test_what_begins_after_the_stop_has_its_grace_too_and_no_more(opener: Opener) -> None:
    async def hang(_parts: Any) -> str:
        await asyncio.Event().wait()
        return "never"

    bridge.stop_soon()
    with ThreadPoolExecutor(1) as threads, pytest.raises(CancelledError):
        threads.submit(bridge.run, hang).result(5)


def in_a_forked_child(work: Callable[[], bool]) -> int:
    """Starts a child that does `work`; its exit code is 0 when that was true."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return child


def exit_code_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_opens_parts_of_its_own(opener: Opener) -> None:
    bridge.run(thread_of)
    child = in_a_forked_child(lambda: bridge.run(thread_of) == LOOP_THREAD and len(opener.opened) == 2)
    assert exit_code_of(child) == 0


def test_a_forked_child_hears_that_its_parent_stops(opener: Opener) -> None:
    readable, writable = os.pipe()

    async def hang(_parts: Any) -> bool:
        os.write(writable, b".")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return True
        return False

    child = in_a_forked_child(lambda: bridge.run(hang))
    assert os.read(readable, 1) == b"."
    bridge.stop_soon()
    assert exit_code_of(child) == 0


def test_a_task_outside_of_a_worker_says_what_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_wiring", None)
    with pytest.raises(RuntimeError, match="moorage worker"):
        bridge.run(thread_of)
