"""Results of tasks on the pool's loop come, stay and expire as Celery's own do, in fewer round trips."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from celery.app.task import Context
from celery.backends.redis import RedisBackend
from redis import Redis

from tasks.result_copies import MOST_BYTES, Stored
from tests.real_valkey import RealValkey
from tests.tasks import results_app
from tests.tasks.results_app import FAILURE_SECONDS, PREFIX, SUCCESS_SECONDS

SECONDS = 20.0
DATABASE = 4_001


@pytest.fixture(scope="module")
def redis(shared_valkey: RealValkey) -> Iterator[Redis]:
    """The database of broker and results."""
    url = shared_valkey.url(DATABASE)
    results_app.use(url)
    with Redis.from_url(url) as client:
        yield client
    backend: Any = results_app.app.backend
    backend.remove_pending_result = lambda result: result  # else results that pytest still holds look for the server


@pytest.fixture(scope="module", autouse=True)
def worker(redis: Redis, shared_valkey: RealValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A worker, and its log."""
    log = tmp_path_factory.mktemp("results") / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "tests.tasks.results_app", "--quiet", "worker", "-l", "INFO"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle"],
            env=os.environ | {"RESULTS_BROKER": shared_valkey.url(DATABASE)},
            stdout=out,
            stderr=out,
        )
    yield log
    process.kill()
    process.wait()


def key_of(result: Any) -> str:
    return f"{PREFIX}celery-task-meta-{result.id}"


def test_a_result_is_told_and_expires(redis: Redis) -> None:
    result = results_app.add.delay(1, 2)
    assert result.get(SECONDS) == 3
    assert SUCCESS_SECONDS - 60 < int(str(redis.ttl(key_of(result)))) <= SUCCESS_SECONDS


def test_a_failure_is_told_with_its_traceback_and_expires_in_its_own_time(redis: Redis) -> None:
    result = results_app.fail.delay()
    with pytest.raises(ValueError, match="wrong"):
        result.get(SECONDS)
    assert "results_app.py" in str(result.traceback)
    assert SUCCESS_SECONDS < int(str(redis.ttl(key_of(result)))) <= FAILURE_SECONDS


def test_a_result_follows_on_a_retry() -> None:
    assert results_app.second_time.delay().get(SECONDS) == "done"


def test_a_large_result_is_stored_too() -> None:
    assert len(results_app.text.delay(MOST_BYTES + 1).get(SECONDS)) == MOST_BYTES + 1


def test_an_ignored_result_is_not_stored(redis: Redis) -> None:
    ignored = results_app.silent.delay()
    assert chain(results_app.silent.s(), results_app.add.si(1, 1)).delay().get(SECONDS) == 2
    assert not redis.exists(key_of(ignored))


def test_chains_groups_and_chords_find_their_results() -> None:
    add, total = results_app.add, results_app.total
    whole: Any = chain(add.s(1, 2), add.s(10)).delay()
    assert whole.get(SECONDS) == 13
    assert whole.parent.get(SECONDS) == 3
    assert [child.id for child in whole.parent.children] == [whole.id]
    assert group(add.s(n, n) for n in range(4)).delay().get(timeout=SECONDS) == [0, 2, 4, 6]
    assert chord([add.s(n, 1) for n in range(4)], total.s()).delay().get(timeout=SECONDS) == 10
    with pytest.raises(Exception, match="wrong"):
        chord([add.s(1, 1), results_app.fail.s()], total.s()).delay().get(timeout=SECONDS)


def test_results_that_come_together_share_round_trips(redis: Redis) -> None:
    def calls(command: str) -> int:
        found: dict[str, Any] = redis.info("commandstats")
        return int(found.get(f"cmdstat_{command}", {}).get("calls", 0))

    told, transactions = calls("publish"), calls("exec")
    numbers = range(300)
    results = group(results_app.add.s(number, 1) for number in numbers).delay()
    assert results.get(timeout=SECONDS) == [number + 1 for number in numbers]
    assert calls("publish") - told >= 600, "each is told twice: as begun and as done"
    assert calls("exec") - transactions < 60, "Celery's own backend would have taken 600"


@pytest.fixture
def backend() -> Any:
    return results_app.app.backend


def stored(backend: Any, task_id: str, status: str) -> Stored:
    return Stored(backend.get_key_for_task(task_id), backend.encode({"status": status, "result": None}), 0)


@pytest.mark.parametrize(("there", "stays"), [("SUCCESS", True), ("STARTED", False), ("FAILURE", False)])
def test_a_success_stays_and_anything_else_gives_way(redis: Redis, backend: Any, there: str, stays: bool) -> None:
    backend._store_many([stored(backend, there, there), stored(backend, f"beside {there}", "SUCCESS")])
    backend._store_many([stored(backend, there, "REVOKED"), stored(backend, f"new {there}", "SUCCESS")])
    found = [backend.get_task_meta(f"{name}{there}", cache=False)["status"] for name in ("", "beside ", "new ")]
    assert found == [there if stays else "REVOKED", "SUCCESS", "SUCCESS"]
    assert redis.ttl(backend.get_key_for_task(f"new {there}")) == -1, "kept for ever when nothing else is said"


@pytest.mark.parametrize("named", [{}, {"group": "g", "parent_id": "p"}])
def test_what_is_stored_is_what_celery_would_have_stored(backend: Any, named: dict[str, str]) -> None:
    request = Context(id="t", task="add", **named)
    ours = backend._get_result_meta(7, "SUCCESS", None, request)
    theirs = RedisBackend._get_result_meta(backend, 7, "SUCCESS", None, request)  # type: ignore[attr-defined]
    ours_at, theirs_at = (datetime.fromisoformat(meta.pop("date_done")) for meta in (ours, theirs))
    assert ours == theirs
    assert ours_at.utcoffset() == theirs_at.utcoffset()
    assert abs(theirs_at - ours_at) < timedelta(seconds=10)


async def test_only_what_is_written_down_elsewhere_may_miss_its_result(own_valkey: RealValkey) -> None:
    """In a process of its own, since Celery keeps one backend for each thread."""
    own_valkey.kill()
    program = f"""
import logging
from types import SimpleNamespace
from tests.tasks import results_app
logging.basicConfig()
results_app.use({own_valkey.url()!r})
backend = results_app.app.backend
request = SimpleNamespace(task="tests.tasks.results_app.written_down_elsewhere", chord=None)
print(backend.store_result("t", 1, "SUCCESS", request=request))
request.task = "tests.tasks.results_app.add"
try:
    backend.store_result("t", 1, "SUCCESS", request=request)
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "ConnectionError"]
    assert "result of t not stored" in done.stderr
