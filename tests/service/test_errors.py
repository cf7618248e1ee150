"""Problems: one shape for all, with the request's id that is also in the log, and nothing that is nobody's business."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import tasks.errors
from service import errors
from tasks.settings import TaskSettings
from tests.observability.conftest import LogLines
from tests.service.raw_http import RawConnection
from tests.service.served import Served, served

NOT_FOR_CLIENTS = {"MoorageError", "StoreError", "InvalidSetting", "LeaseLost", "WorkerKilled", "StagedFileMissing"}
"""Roots, and what only workers and wiring meet. At the edge they are "internal"."""


@pytest.fixture
def logged(log_lines: LogLines, task_settings: TaskSettings) -> Iterator[Served]:
    """An application whose log lines can be read."""
    with served(task_settings) as running:
        yield running


def lines_of(log_lines: LogLines, request_id: str) -> list[dict[str, Any]]:
    return [line for line in log_lines() if line.get("request_id") == request_id]


def test_every_error_of_the_work_has_its_line_in_the_table() -> None:
    kinds = {
        name for name, kind in inspect.getmembers(tasks.errors, inspect.isclass) if kind.__module__ == "tasks.errors"
    }
    assert kinds - {kind.__name__ for kind in errors.TABLE} == NOT_FOR_CLIENTS & kinds


def test_every_slug_stands_once_and_every_sentence_ends() -> None:
    slugs = [line.slug for line in errors.TABLE.values()]
    assert len(slugs) == len(set(slugs))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", slug) for slug in slugs)


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nowhere", 404, "no-such-path"),
        ("GET", "/", 404, "no-such-path"),
        ("DELETE", "/api/v1/uploads", 405, "method-not-allowed"),
        ("POST", "/livez", 405, "method-not-allowed"),
        ("GET", "/api/v1/uploads/a", 405, "method-not-allowed"),
        ("PATCH", "/tasks", 405, "method-not-allowed"),
        ("GET", "/tasks", 401, "unauthenticated"),
        ("GET", "/tasks/../../etc/passwd", 404, "no-such-path"),
        ("GET", "/%ff%00", 404, "no-such-path"),
    ],
)
def test_problems_have_one_shape_everywhere(edge: Served, method: str, path: str, status: int, slug: str) -> None:
    with RawConnection(edge.url) as connection:
        connection.head(method, path)
        answer = connection.answer()
    assert (answer.status, answer.problem) == (status, slug)
    body = json.loads(answer.body)
    assert set(body) == {"type", "title", "status", "detail", "request_id"}
    assert body["status"] == status
    assert body["detail"].endswith(".")
    assert body["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/uploads", "OPTIONS, POST, PUT"),
        ("/api/v1/uploads/a/b", "OPTIONS, PUT"),
        ("/ipfs/x", "GET, HEAD, OPTIONS"),
        ("/tasks/x/status", "GET, OPTIONS"),
        ("/livez", "GET, OPTIONS"),
    ],
)
def test_a_refused_method_is_told_which_are_allowed(ann: httpx.Client, path: str, allowed: str) -> None:
    answer = ann.delete(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_the_request_id_of_a_problem_is_in_the_log(logged: Served, log_lines: LogLines) -> None:
    with logged.client() as anyone:
        answer = anyone.get("/tasks")
        given = anyone.get("/nowhere", headers={"X-Request-ID": "from-the-client.1"})
    assert given.json()["request_id"] == given.headers["x-request-id"] == "from-the-client.1"
    for found in (answer, given):
        [line] = lines_of(log_lines, found.json()["request_id"])
        assert (line["event"], line["status"]) == ("http.request", found.status_code)


def test_a_request_id_that_could_forge_a_line_is_replaced(edge: Served) -> None:
    with edge.client() as anyone:
        for forged in ("a b", "x" * 65, '{"a":1}', "é"):
            answer = anyone.get("/nowhere", headers={b"X-Request-ID": forged.encode()})
            assert re.fullmatch(r"[0-9a-f]{32}", answer.json()["request_id"])


def test_what_nobody_foresaw_is_logged_whole_and_told_not_at_all(
    logged: Served, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = f"{tmp_path}/secret"

    async def break_down(*_: object, **__: object) -> None:
        raise ValueError(secret)

    monkeypatch.setattr("service.task_status.find", break_down)
    with logged.client(logged.key("ann")) as ann:
        answer = ann.get("/tasks/x/status")
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:moorage:problem:internal")
    assert secret not in answer.text
    assert "Traceback" not in answer.text
    [unhandled] = [
        line for line in lines_of(log_lines, answer.json()["request_id"]) if line["event"] == "http.unhandled"
    ]
    assert secret in unhandled["exception"]


def test_a_body_nobody_will_read_is_not_waited_for(edge: Served) -> None:
    for path in ("/nowhere", "/livez", "/tasks"):
        with RawConnection(edge.url) as connection:
            connection.head("POST", path, Content_Length=1 << 40)
            answer = connection.answer()
            assert answer.headers["Connection"] == "close"
            assert connection.received() == b""


@pytest.mark.parametrize(("query", "name"), [("state=FOO", "state"), ("limit=0", "limit"), ("before=now", "before")])
def test_a_value_that_does_not_fit_is_named_as_its_caller_named_it(ann: httpx.Client, query: str, name: str) -> None:
    answer = ann.get(f"/tasks?{query}")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"{name}: ")
