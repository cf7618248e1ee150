"""The probes, with every part taken away in its turn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import msgspec
import pytest

from tasks.heartbeat import ALIVE_SECONDS, WORKERS_KEY, WorkerSign
from tasks.queues import QUEUES
from tasks.settings import TaskSettings
from tests.real_valkey import RealValkey
from tests.service.served import Served, served

PARTS = ("database", "redis", "celery", "store")


@pytest.fixture
def lonely(task_settings: TaskSettings, own_valkey: RealValkey) -> Iterator[Served]:
    settings = msgspec.structs.replace(task_settings, redis_url=own_valkey.url())
    with served(settings) as running:
        yield running


def beat(edge: Served, *queues: str, hostname: str = "w@h", age_seconds: float = 0.0) -> None:
    sign = WorkerSign(hostname=hostname, queues=queues, active=(), at=edge.parts.clock.now() - age_seconds)

    async def write() -> None:
        await edge.parts.redis.hset(WORKERS_KEY, hostname, msgspec.json.encode(sign))

    edge.run(write())


def away(edge: Served) -> list[str]:
    """The parts that `/health` misses."""
    with edge.client() as anyone:
        answer = anyone.get("/health")
    body = answer.json()
    missing = [part for part in PARTS if body[part] == "unreachable"]
    assert answer.status_code == (503 if missing else 200)
    assert body["status"] == ("degraded" if missing else "healthy")
    return missing


def ready(edge: Served) -> bool:
    with edge.client() as anyone:
        assert anyone.get("/livez").json() == {"status": "alive"}
        answer = anyone.get("/readyz")
    assert answer.json()["status"] == ("ready" if answer.status_code == 200 else "unready")
    return answer.status_code == 200


def test_all_parts_are_there(lonely: Served) -> None:
    beat(lonely, *QUEUES)
    assert away(lonely) == []
    assert ready(lonely)


def test_workers_are_there_when_every_queue_has_one_alive(lonely: Served) -> None:
    assert away(lonely) == ["celery"]
    beat(lonely, *QUEUES[1:])
    assert away(lonely) == ["celery"]
    beat(lonely, QUEUES[0], hostname="other@h")
    assert away(lonely) == []
    beat(lonely, QUEUES[0], hostname="other@h", age_seconds=ALIVE_SECONDS + 1)
    assert away(lonely) == ["celery"]
    assert ready(lonely), "uploads are accepted without workers"


def test_without_redis_uploads_can_still_be_accepted(lonely: Served, own_valkey: RealValkey) -> None:
    own_valkey.kill()
    assert away(lonely) == ["redis", "celery"]
    assert ready(lonely)


def test_without_its_store_it_is_not_ready(lonely: Served) -> None:
    beat(lonely, *QUEUES)
    shutil.rmtree(lonely.parts.settings.store_folder / "files")
    assert away(lonely) == ["store"]
    assert not ready(lonely)


def test_without_its_catalog_it_is_not_ready(lonely: Served) -> None:
    beat(lonely, *QUEUES)
    for file in lonely.parts.settings.data.glob("catalog.sqlite*"):
        file.write_bytes(b"not a database at all" * 1000)
    assert away(lonely) == ["database"]
    assert not ready(lonely)


def test_the_metrics_page_says_when_it_could_not_ask(lonely: Served, own_valkey: RealValkey) -> None:
    with lonely.client() as anyone:
        assert "\nmoorage_cluster_snapshot_up 1.0\n" in anyone.get("/metrics").text
        own_valkey.kill()
        page = anyone.get("/metrics")
        assert page.status_code == 200
        assert "\nmoorage_cluster_snapshot_up 0.0\n" in page.text
        assert "moorage_http_requests_total" in page.text
