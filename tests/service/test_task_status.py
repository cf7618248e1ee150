"""Status of tasks: what their owner sees of them, wherever it is known, and what nobody else ever sees."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from tasks.catalog import tasks as rows
from tasks.catalog.tasks import TaskError, TaskRow
from tasks.records import Record
from tasks.settings import TaskSettings
from tests.real_valkey import RealValkey
from tests.service.raw_http import RawConnection
from tests.service.served import Served, served

UNKNOWN = "00000000-0000-4000-8000-000000000000"
PREFIXES = ("/tasks", "/api/v1/tasks")


@pytest.fixture
def owner(edge: Served, ann: httpx.Client) -> str:
    """The name of the owner whose client `ann` is."""
    task_id = ann.put("/api/v1/uploads/a", content=b"x").json()["task_id"]

    async def found() -> str:
        async with edge.parts.catalog.write() as transaction:
            row = await rows.get(transaction, task_id)
            await transaction.exec_driver_sql("DELETE FROM uploads WHERE task_id = ?", (task_id,))
            await transaction.exec_driver_sql("DELETE FROM tasks WHERE id = ?", (task_id,))
        await edge.parts.redis.delete(f"moorage:task:{task_id}")
        assert row is not None
        return row.owner

    return edge.run(found())


def put_row(edge: Served, owner: str, **different: Any) -> str:
    usual: dict[str, Any] = {"id": str(uuid.uuid4()), "actor": "ingest", "queue": "upload", "arguments": {}}
    row = TaskRow(**usual | {"owner": owner, "due_at": 100.0, "created_at": 100.0} | different)

    async def add() -> None:
        async with edge.parts.catalog.write() as transaction:
            await rows.add(transaction, row)

    edge.run(add())
    return row.id


def put_record(edge: Served, owner: str, task_id: str = "", **different: Any) -> str:
    usual: dict[str, Any] = {"task_id": task_id or str(uuid.uuid4()), "actor": "add", "queue": "upkeep"}
    record = Record(**usual | {"owner": owner, "durable": bool(task_id), "created_at": 100.0} | different)

    async def stage() -> None:
        pipeline = edge.parts.redis.pipeline()
        edge.parts.records.stage(pipeline, record)
        await pipeline.execute()
        await edge.parts.records.write(record)

    edge.run(stage())
    return record.task_id


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:moorage:problem:")


def test_a_fresh_upload_is_pending_on_both_prefixes(ann: httpx.Client) -> None:
    task_id = ann.put("/api/v1/uploads/a", content=b"x").json()["task_id"]
    for prefix in PREFIXES:
        status = ann.get(f"{prefix}/{task_id}/status")
        wanted = {"task_id": task_id, "state": "PENDING", "progress": 0.0, "message": ""}
        assert status.json() == {"status": 200, "data": wanted}
        whole = ann.get(f"{prefix}/{task_id}").json()
        assert whole["status"] == "pending"
        assert (whole["actor"], whole["queue"], whole["attempt"]) == ("ingest", "upload", 0)
        assert whole["created_at"].endswith("Z")
        assert (whole["started_at"], whole["finished_at"], whole["result"], whole["error"]) == (None,) * 4


def test_running_work_shows_how_far_it_is(edge: Served, ann: httpx.Client, owner: str) -> None:
    task_id = put_row(edge, owner, state="STARTED", started_at=101.0)
    put_record(edge, owner, task_id, state="PROGRESS", starts=1, progress=41.26, message="hashing")
    data = ann.get(f"/tasks/{task_id}/status").json()["data"]
    assert (data["state"], data["progress"], data["message"]) == ("PROGRESS", 41.3, "hashing")
    assert ann.get(f"/tasks/{task_id}").json()["status"] == "processing"


def test_a_result_is_given_refused_or_said_never_to_come(edge: Served, ann: httpx.Client, owner: str) -> None:
    for state in ("PENDING", "STARTED", "RETRY"):
        answer = ann.get(f"/tasks/{put_row(edge, owner, state=state)}/result")
        assert problem(answer) == (409, "task-not-finished")
        assert answer.json()["state"] == state
    done = put_row(edge, owner, state="SUCCESS", result={"cid": "b", "list": [1, None, 2.5]})
    assert ann.get(f"/tasks/{done}/result").json() == {
        "task_id": done,
        "state": "SUCCESS",
        "status": "completed",
        "result": {"cid": "b", "list": [1, None, 2.5]},
    }
    failed = put_row(edge, owner, state="FAILURE", error=TaskError("DiskFull", "the data volume is full"))
    answer = ann.get(f"/tasks/{failed}/result")
    assert problem(answer) == (422, "task-failed")
    assert answer.json()["error"] == {"type": "DiskFull", "message": "the data volume is full"}
    status = ann.get(f"/tasks/{failed}/status").json()["data"]
    assert (status["state"], status["error"]) == ("FAILURE", answer.json()["error"])
    assert "result" not in status


@pytest.mark.parametrize(
    "text",
    [
        UNKNOWN,
        UNKNOWN.upper().replace("0", "A"),
        "1",
        "x" * 36,
        "x" * 8000,
        "é" * 36,
        "' OR 1=1; --",
        "\x00" * 36,
        "moorage:workers",
        "*",
        "..",
        "a/b",
        "{" * 36,
    ],
)
def test_ids_nobody_was_given_are_not_found(edge: Served, ann: httpx.Client, text: str) -> None:
    for prefix in PREFIXES:
        for tail in ("/status", "", "/result"):
            with RawConnection(edge.url) as connection:
                path = f"{prefix}/{quote(text, safe='').replace('.', '%2e')}{tail}"
                connection.head("GET", path, X_API_Key=ann.headers["X-API-Key"])
                answer = connection.answer()
            assert answer.status == 404, path
            assert answer.problem == ("no-such-path" if text == "a/b" else "task-not-found")


def test_another_owners_tasks_look_like_tasks_that_never_were(
    edge: Served, ann: httpx.Client, bob: httpx.Client, owner: str
) -> None:
    done = put_row(edge, owner, state="SUCCESS", result=1)
    passing = put_record(edge, owner)
    put_record(edge, owner, put_row(edge, owner), state="STARTED", starts=1)
    for task_id in (done, passing):
        for tail in ("/status", "", "/result"):
            foreign, unknown = bob.get(f"/tasks/{task_id}{tail}"), bob.get(f"/tasks/{UNKNOWN}{tail}")
            assert problem(foreign) == (404, "task-not-found")
            assert _without_id(foreign) == _without_id(unknown)
    assert bob.get("/tasks").json()["tasks"] == []
    assert bob.get("/tasks?state=SUCCESS&queue=upload&actor=ingest").json()["count"] == 0
    assert {task["task_id"] for task in ann.get("/tasks").json()["tasks"]} >= {done, passing}


def _without_id(answer: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name != "request_id"}


def test_the_list_is_filtered_by_state_queue_and_actor(edge: Served, ann: httpx.Client, owner: str) -> None:
    upload = put_row(edge, owner, created_at=101.0)
    done = put_row(edge, owner, state="SUCCESS", created_at=102.0)
    running = put_row(edge, owner, state="STARTED", created_at=103.0)
    put_record(edge, owner, running, state="PROGRESS", starts=1, created_at=103.0)
    passing = put_record(edge, owner, created_at=104.0)

    def listed(**filters: str) -> list[str]:
        answer = ann.get("/tasks", params=filters)
        assert answer.status_code == 200, answer.text
        assert answer.json()["count"] == len(answer.json()["tasks"])
        return [task["task_id"] for task in answer.json()["tasks"]]

    assert listed() == [passing, running, done, upload]
    assert listed(state="PENDING") == [passing, upload]
    assert listed(state="PROGRESS") == [running]
    assert listed(state="STARTED") == []
    assert listed(state="SUCCESS") == [done]
    assert listed(queue="upkeep") == [passing]
    assert listed(actor="ingest", state="SUCCESS") == [done]
    assert listed(actor="nobody") == []
    assert listed(before="1970-01-01T00:01:43Z") == [done, upload]
    assert listed(before="1970-01-01T00:01:43") == [done, upload]


@pytest.mark.parametrize("query", ["state=DONE", "state=", "limit=0", "limit=201", "limit=x", "before=yesterday"])
def test_filters_that_mean_nothing_are_refused(ann: httpx.Client, query: str) -> None:
    answer = ann.get(f"/tasks?{query}")
    assert problem(answer) == (400, "bad-request")
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]


def test_paging_over_durable_and_passing_tasks_shows_each_once(edge: Served, ann: httpx.Client, owner: str) -> None:
    made = set()
    for number in range(23):
        at = 1_000.0 + number / 1_000_000
        made.add(put_record(edge, owner, created_at=at) if number % 3 else put_row(edge, owner, created_at=at))
    seen: list[str] = []
    before: dict[str, str] = {}
    while True:
        page = ann.get("/tasks", params={"limit": "4"} | before).json()
        seen += [task["task_id"] for task in page["tasks"]]
        if page["next_before"] is None:
            break
        before = {"before": page["next_before"]}
    assert len(seen) == 23
    assert set(seen) == made


def test_a_filter_on_a_state_that_only_redis_knows_leaves_no_task_out(
    edge: Served, ann: httpx.Client, owner: str
) -> None:
    started = put_row(edge, owner, state="STARTED", created_at=101.0)
    newer = put_row(edge, owner, state="STARTED", created_at=102.0)
    put_record(edge, owner, newer, state="PROGRESS", starts=1, created_at=102.0)
    first = ann.get("/tasks?state=STARTED&limit=1").json()
    assert (first["tasks"], first["next_before"]) == ([], "1970-01-01T00:01:42Z")
    second = ann.get("/tasks", params={"state": "STARTED", "limit": "1", "before": first["next_before"]}).json()
    assert [task["task_id"] for task in second["tasks"]] == [started]


def test_active_tasks_name_the_owners_own_only(edge: Served, ann: httpx.Client, bob: httpx.Client, owner: str) -> None:
    sign = {
        "hostname": "w@h",
        "queues": ["upload"],
        "at": edge.parts.clock.now(),
        "active": [
            {"task_id": "1", "actor": "ingest", "owner": owner},
            {"task_id": "2", "actor": "ingest", "owner": "zoe"},
        ],
    }

    async def beat() -> None:
        await edge.parts.redis.hset("moorage:workers", "w@h", msgspec.json.encode(sign))

    edge.run(beat())
    assert [task["task_id"] for task in ann.get("/tasks").json()["active_tasks"]["w@h"]] == ["1"]
    assert bob.get("/tasks").json()["active_tasks"] == {"w@h": []}


@pytest.fixture
def lonely(task_settings: TaskSettings, own_valkey: RealValkey) -> Iterator[tuple[Served, RealValkey]]:
    """An application whose Valkey can be killed."""
    settings = msgspec.structs.replace(task_settings, redis_url=own_valkey.url())
    with served(settings) as running:
        yield running, own_valkey


def test_while_redis_is_away_the_catalog_answers_and_unknown_is_not_claimed(lonely: tuple[Served, RealValkey]) -> None:
    edge, valkey = lonely
    with edge.client(edge.key("ann")) as ann, edge.client(edge.key("bob")) as bob:
        done = put_row(edge, "ann", state="SUCCESS", result=7)
        passing = put_record(edge, "ann")
        valkey.kill()
        assert ann.get(f"/tasks/{done}/result").json()["result"] == 7
        assert problem(bob.get(f"/tasks/{done}/result")) == (404, "task-not-found")
        for task_id in (passing, UNKNOWN):
            answer = ann.get(f"/tasks/{task_id}/status")
            assert problem(answer) == (503, "broker-unavailable")
            assert "retry-after" in answer.headers
        assert problem(ann.get("/tasks/not-an-id")) == (404, "task-not-found")
        listed = ann.get("/tasks").json()
        assert ([task["task_id"] for task in listed["tasks"]], listed["active_tasks"]) == ([done], {})
        valkey.start()
        assert problem(ann.get(f"/tasks/{UNKNOWN}/status")) == (404, "task-not-found")
        assert ann.get(f"/tasks/{done}/result").json()["result"] == 7
