from __future__ import annotations

import subprocess
import sys
from typing import Any

from celery.app.backends import by_url
from kombu.transport import TRANSPORT_ALIASES

from tasks.app import POOLS, app, configure
from tasks.queues import QUEUES
from tasks.results import StoredTogether
from tasks.settings import TaskSettings

IMPORT = """
import os, socket, sys
before = set(os.listdir())
socket.socket.connect = lambda *_: sys.exit("connected")
import tasks.app
assert set(os.listdir()) == before
assert "observability" not in sys.modules
assert not tasks.app.app.conf.broker_url, tasks.app.app.conf.broker_url
"""


def test_importing_the_application_does_nothing(tmp_path: object) -> None:
    environ = {"REDIS_URL": "redis://127.0.0.1:1/0", "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], check=False, cwd=str(tmp_path), env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_only_json_is_accepted_and_work_is_acknowledged_when_it_is_done(task_settings: TaskSettings) -> None:
    conf = configure(task_settings).conf
    assert (conf.accept_content, conf.result_accept_content, conf.task_serializer) == (["json"], ["json"], "json")
    assert conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1
    assert [queue.name for queue in conf.task_queues] == list(QUEUES)


def test_broker_and_results_live_in_redis_unless_they_are_given_places_of_their_own() -> None:
    conf = configure(TaskSettings(redis_url="redis://a/1")).conf
    assert (conf.broker_url, conf.result_backend) == ("redis://a/1", "redis://a/1")
    conf = configure(TaskSettings(broker_url="redis://b/1", result_backend_url="redis://c/1")).conf
    assert (conf.broker_url, conf.result_backend) == ("redis://b/1", "redis://c/1")


def test_workers_run_on_the_event_loop_and_lose_nothing_unless_the_settings_say_otherwise() -> None:
    conf = configure(TaskSettings()).conf
    assert (conf.worker_pool, conf.worker_concurrency, conf.worker_max_tasks_per_child) == (
        POOLS["asyncio"],
        None,
        None,
    )
    assert TRANSPORT_ALIASES["redis"] == "tasks.transport:Transport"
    assert conf.broker_transport_options["lease_seconds"] == 10.0

    chosen = TaskSettings(pool="prefork", transport="stock", concurrency=3, recycle_above_bytes=1 << 30)
    conf = configure(chosen).conf
    assert (conf.worker_pool, conf.worker_concurrency) == ("prefork", 3)
    assert (conf.worker_max_tasks_per_child, conf.worker_max_memory_per_child) == (1_000, 1 << 20)
    assert TRANSPORT_ALIASES["redis"] == "kombu.transport.redis:Transport"


def test_results_of_every_kind_of_address_are_stored_together() -> None:
    for address in ("redis://h/1", "rediss://h/1", "unix:///s?db=1", "sentinel://h/1?master=m"):
        conf = configure(TaskSettings(redis_url=address)).conf
        found: Any = by_url(conf.result_backend, app.loader)
        kind, _ = found
        assert issubclass(kind, StoredTogether)


def test_broker_and_results_may_have_sentinels_of_their_own() -> None:
    conf = configure(TaskSettings(redis_url="sentinel://a/1?master=m", broker_url="sentinel://b,c/2?master=n")).conf
    assert (conf.broker_url, conf.result_backend) == (
        "sentinel://b:26379/2;sentinel://c:26379/2",
        "sentinel://a:26379/1",
    )
    assert conf.broker_transport_options["master_name"] == "n"
    assert conf.result_backend_transport_options["master_name"] == "m"
    configure(TaskSettings(redis_url="redis://a/1"))
    assert "master_name" not in conf.broker_transport_options | conf.result_backend_transport_options
