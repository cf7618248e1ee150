"""Celery's copy of a result comes with the task's record where it can, and from Celery itself where it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from celery import Celery
from celery.app.task import Context

from tasks.app import RESULTS
from tasks.parts import Parts
from tasks.records import Record
from tasks.redis_address import celery_url
from tasks.result_copies import MOST_BYTES, ResultCopy, Stored, is_stored
from tests.tasks.running import double, make_actor, record_of, run

SECONDS = 1_000


@pytest.fixture
def backend(parts: Parts) -> Iterator[Any]:
    """A result backend on the server that has the records."""
    app = Celery("copies", set_as_current=False)
    app.loader.override_backends = RESULTS
    app.conf.update(result_backend=celery_url(parts.settings.redis_url), result_expires=SECONDS)
    yield app.backend
    app.close()


def request_of(task_id: str = "t", **more: Any) -> Context:
    return Context({"id": task_id, "task": "double", "ignore_result": False}, **more)


async def stored_in(parts: Parts, backend: Any, task_id: str = "t") -> Any:
    found = await parts.redis.get(backend.get_key_for_task(task_id))
    return None if found is None else json.loads(found)


async def test_a_success_is_stored_with_its_record_and_not_again(parts: Parts, backend: Any) -> None:
    request, actor = request_of(group="g"), make_actor(double, durable=False)
    listener = parts.redis.pubsub()
    await listener.subscribe(backend.get_key_for_task("t"))
    await listener.get_message(timeout=5)

    await run(parts, actor, "t", copy=ResultCopy(backend.prepared, request), number=4)

    copy = await stored_in(parts, backend)
    assert (copy["status"], copy["result"], copy["task_id"], copy["group_id"]) == ("SUCCESS", 8, "t", "g")
    assert (await record_of(parts, "t")).state == "SUCCESS"
    told = await listener.get_message(ignore_subscribe_messages=True, timeout=5)
    assert told is not None
    assert json.loads(told["data"]) == copy
    assert SECONDS - 60 < await parts.redis.ttl(backend.get_key_for_task("t")) <= SECONDS
    assert is_stored(request)
    assert backend.store_result("t", "another", "SUCCESS", request=request) == "another"
    assert await stored_in(parts, backend) == copy
    await listener.aclose()  # type: ignore[no-untyped-call]


async def test_the_copy_is_what_celery_would_have_stored(parts: Parts, backend: Any) -> None:
    request = request_of(parent_id="p")
    result = {"list": [1, 2.5, None], "text": "ü ☃", "nan": float("inf")}

    prepared = json.loads(backend.prepared("t", result, request).body)
    backend.store_result("t", result, "SUCCESS", request=request)
    stored = await stored_in(parts, backend)

    assert (prepared.pop("date_done")[:11], prepared) == (stored.pop("date_done")[:11], stored)


async def test_a_copy_that_is_there_is_left_to_celery(parts: Parts, backend: Any) -> None:
    backend.store_result("t", None, "STARTED", request=request_of())
    request = request_of()

    await run(parts, make_actor(double, durable=False), "t", copy=ResultCopy(backend.prepared, request), number=4)

    assert not is_stored(request)
    assert (await stored_in(parts, backend))["status"] == "STARTED"
    assert (await record_of(parts, "t")).state == "SUCCESS"


async def test_a_record_that_is_further_on_stays(parts: Parts, backend: Any) -> None:
    record = Record(task_id="t", owner="ann", actor="a", queue="q", durable=False, created_at=1.0, starts=1)
    ended = msgspec.structs.replace(record, state="REVOKED")
    progress = msgspec.structs.replace(record, state="PROGRESS")
    await parts.records.write(ended)

    assert await parts.records.finish(progress, Stored("copy", "{}", 0))
    assert (await record_of(parts, "t")).state == "REVOKED"
    assert await parts.redis.ttl("copy") == -1


@pytest.mark.parametrize(
    "request_",
    [request_of(callbacks=[{"task": "next"}]), request_of(chain=[{"task": "next"}]), request_of(ignore_result=True)],
    ids=["callbacks", "chain", "ignored"],
)
async def test_what_other_tasks_follow_or_nobody_wants_is_left_to_celery(
    parts: Parts, backend: Any, request_: Context
) -> None:
    assert ResultCopy(backend.prepared, request_).of(1, parts.settings) is None


async def test_a_large_one_one_for_another_server_and_a_compressed_one_are_left_to_celery(
    parts: Parts, backend: Any
) -> None:
    copy = ResultCopy(backend.prepared, request_of())
    elsewhere = msgspec.structs.replace(parts.settings, result_backend_url="redis://elsewhere:6379/0")

    assert copy.of("x" * MOST_BYTES, parts.settings) is None
    assert copy.of("x", elsewhere) is None
    assert ResultCopy(lambda *_: Stored("k", b"compressed", 0), request_of()).of("x", parts.settings) is None
    assert copy.of("x", parts.settings) is not None


def test_no_message_can_say_that_its_result_is_stored() -> None:
    assert not is_stored(Context({"_moorage_result_stored": True, "id": "t"}))
    assert not is_stored(None)
