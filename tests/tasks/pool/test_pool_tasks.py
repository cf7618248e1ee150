"""Celery's documented behaviour of tasks, with their bodies on the pool's loop and in its threads."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from celery import Task, chain, chord, group
from celery.exceptions import TimeoutError as NotInTime
from celery.result import allow_join_result

from tests.tasks.pool import pool_app, pool_base, pool_lasting
from tests.tasks.pool.pool_base import read_notes
from tests.tasks.pool.pool_worker import PoolWorker, noted, signals_of, until

pytestmark = pytest.mark.usefixtures("worker")

SECONDS = 15.0


@pytest.mark.parametrize("task", [pool_app.add, pool_app.plain_add])
def test_a_result_comes_back_and_the_signals_are_sent_in_order(task: Task[Any, Any]) -> None:
    result = task.delay(3, 4)
    assert result.get(SECONDS) == 7
    assert until(lambda: signals_of(result)[2:] and signals_of(result)) == [
        ["prerun", result.id],
        ["success", result.id],
        ["postrun", result.id, "SUCCESS"],
    ]


def test_each_of_many_concurrent_tasks_is_itself_also_in_threads_and_child_tasks() -> None:
    meet = str(uuid.uuid4())
    results = [pool_app.identity.delay(meet) for _ in range(5)]
    for result in results:
        assert result.get(SECONDS) == [result.id] * 7


def test_context_variables_are_each_tasks_own_and_threads_inherit_them() -> None:
    meet = str(uuid.uuid4())
    results = [pool_app.paint.delay(name, meet) for name in ("red", "green", "blue")]
    assert [result.get(SECONDS) for result in results] == [["none", name, name] for name in ("red", "green", "blue")]


def test_chains_groups_chords_and_maps_run() -> None:
    add, total = pool_app.add, pool_app.total
    assert chain(add.s(1, 2), add.s(10), pool_app.plain_add.s(100)).delay().get(timeout=SECONDS) == 113
    assert group(add.s(n, n) for n in range(4)).delay().get(timeout=SECONDS) == [0, 2, 4, 6]
    assert chord([add.s(n, 1) for n in range(4)], total.s()).delay().get(timeout=SECONDS) == 10
    assert chord([add.s(n, 1) for n in range(4)])(total.s()).get(timeout=SECONDS) == 10
    assert pool_app.plain_add.starmap([(1, 2), (3, 4)]).delay().get(timeout=SECONDS) == [3, 7]


def test_an_error_in_a_chord_fails_its_body() -> None:
    result = chord([pool_app.add.s(1, 1), pool_app.fails.s()], pool_app.total.s()).delay()
    with pytest.raises(Exception, match="wrong"):
        result.get(timeout=SECONDS)


def test_explicit_retries_run_it_again_and_send_their_signal() -> None:
    result = pool_app.retries.delay(2)
    assert result.get(SECONDS) == "after 2"
    assert read_notes(result.id) == [0, 1, 2]
    assert signals_of(result).count(["retry", result.id]) == 2


def test_retries_that_are_spent_fail_with_the_error() -> None:
    result = pool_app.retries.delay(5)
    with pytest.raises(ValueError, match="again"):
        result.get(SECONDS)
    assert read_notes(result.id) == [0, 1, 2]


def test_autoretry_waits_its_backoff() -> None:
    result = pool_app.autoretries.delay(2)
    assert result.get(SECONDS) == 2
    first, second, third = read_notes(result.id)
    assert second - first > 0.9
    assert third - second > 1.9


def test_a_rejected_message_is_gone_and_one_requeued_comes_again() -> None:
    rejected, requeued = pool_app.rejects.delay(False), pool_app.rejects.delay(True)
    assert requeued.get(SECONDS) == "second time"
    assert read_notes(requeued.id) == ["begun", "begun"]
    until(lambda: rejected.state == "FAILURE")
    assert read_notes(rejected.id) == ["begun"]


def test_an_ignored_task_is_acknowledged_and_keeps_no_result(worker: PoolWorker) -> None:
    result = pool_app.ignores.delay()
    noted(result, "ran")
    until(lambda: not worker.inspect("active"))
    assert result.state == "STARTED"


def test_a_failure_is_stored_with_its_traceback_and_signalled() -> None:
    result = pool_app.fails.delay()
    with pytest.raises(ValueError, match="wrong"):
        result.get(SECONDS)
    assert 'raise ValueError("wrong")' in str(result.traceback)
    until(lambda: ["failure", result.id, "ValueError"] in signals_of(result))


def test_acks_on_failure_false_rejects_the_message() -> None:
    result = pool_app.fails_unacknowledged.delay()
    with pytest.raises(ValueError, match="wrong"):
        result.get(SECONDS)


def test_errors_that_do_not_pickle_and_results_that_do_not_encode_are_failures() -> None:
    with pytest.raises(Exception, match="Unpicklable"):
        pool_app.fails_unpicklably.delay().get(SECONDS)
    with pytest.raises(Exception, match="not JSON serializable"):
        pool_app.returns_what_is_no_json.delay().get(SECONDS)


@pytest.mark.parametrize("task", [pool_app.raises_base, pool_app.raises_base_in_thread])
@pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt"])
def test_a_body_that_wants_to_leave_the_process_fails_like_a_lost_worker(task: Task[Any, Any], name: str) -> None:
    result = task.delay(name)
    with pytest.raises(Exception, match="Worker exited prematurely"):
        result.get(SECONDS)
    assert pool_app.add.delay(1, 1).get(SECONDS) == 2


def test_a_body_that_raises_cancelled_error_by_itself_fails() -> None:
    with pytest.raises(Exception, match="mine"):
        pool_app.raises_base.delay("CancelledError").get(SECONDS)


def test_a_child_task_that_wants_to_leave_the_process_does_not_end_the_loop() -> None:
    assert pool_app.spawns_what_exits.delay().get(SECONDS) == "still here"
    assert pool_app.add.delay(1, 1).get(SECONDS) == 2


def test_timeouts_and_task_groups_inside_a_body_leave_no_cancellation_behind() -> None:
    assert pool_app.times_out_inside.delay().get(SECONDS) == "went on"


def test_an_async_generator_that_a_body_leaves_is_closed() -> None:
    result = pool_app.leaves_a_generator.delay()
    assert result.get(SECONDS) == 1
    noted(result, "closed")


def test_progress_is_seen_while_the_task_runs() -> None:
    result = pool_app.reports_progress.delay()
    until(lambda: (str(result.state), result.info) == ("PROGRESS", {"percent": 50}))
    pool_base.notes().set(f"seen:{result.id}", 1)
    assert result.get(SECONDS) == "done"


def test_a_body_sends_calls_and_replaces_tasks() -> None:
    child = pool_app.sends_another.delay(1).get(SECONDS)
    assert pool_base.app.AsyncResult(child).get(SECONDS) == 2
    assert pool_app.calls_another.delay(1).get(SECONDS) == [2, 3]
    assert pool_app.replaces.delay(1).get(SECONDS) == 101


def test_waiting_for_a_result_inside_a_task_is_refused_as_celery_does() -> None:
    with pytest.raises(RuntimeError, match="Never call result"):
        pool_app.gets_a_result.delay(1).get(SECONDS)


def test_plain_code_on_the_loop_awaits() -> None:
    assert pool_app.awaits_from_plain_code.delay().get(SECONDS) == "awaited"


def test_bodies_that_say_so_run_in_a_process_of_their_own() -> None:
    own = pool_app.own_pid.delay().get(SECONDS)
    assert pool_app.runs_in_a_process.delay().get(30) != own
    assert pool_app.awaits_in_a_process.delay().get(30) != own


def test_an_expired_task_is_revoked() -> None:
    result = pool_app.add.apply_async((1, 1), expires=-1)
    with pytest.raises(Exception, match="expired"):
        result.get(SECONDS)
    until(lambda: ["revoked", False, True] in signals_of(result))


def test_a_rate_limit_is_kept() -> None:
    times = sorted(pool_app.is_rate_limited.delay().get(SECONDS) for _ in range(4))
    group_times = sorted(group(pool_app.is_rate_limited.s() for _ in range(4)).delay().get(timeout=SECONDS))
    assert group_times[-1] - group_times[0] > 0.25
    assert times[0] < group_times[0]


def test_busy_threads_do_not_hold_up_the_loop(worker: PoolWorker) -> None:
    gate = str(uuid.uuid4())
    holding = [pool_lasting.holds_a_thread.delay(gate) for _ in range(6)]
    until(lambda: sum(bool(read_notes(result.id)) for result in holding) == 4)
    assert worker.inspect("stats")["pool"]["threads"]["busy"] == 4
    assert pool_app.add.delay(1, 1).get(SECONDS) == 2
    late = pool_app.plain_add.delay(1, 1)
    with pytest.raises(NotInTime):
        late.get(0.2)
    pool_base.notes().rpush(f"gate:{gate}", *range(6))
    with allow_join_result():
        assert late.get(SECONDS) == 2


def test_who_blocks_the_loop_is_named_in_the_log(worker: PoolWorker) -> None:
    result = pool_app.blocks_the_loop.delay(2.0)
    assert result.get(SECONDS) == "blocked"
    until(lambda: f"blocks_the_loop[{result.id}] blocks the event loop" in worker.log)
