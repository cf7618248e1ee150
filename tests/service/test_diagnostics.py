"""Diagnostics from both prefixes: what is submitted has its record, what makes no sense is refused at the door."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.service.served import Served

PREFIXES = ("/tasks/test", "/api/v1/tasks/test")


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("path", ["", "?message=hi", "/add?x=1&y=2.5", "/sleep", "/sleep?seconds=0", "/long", "/fail"])
def test_a_diagnostic_is_submitted_and_can_be_watched(ann: httpx.Client, prefix: str, path: str) -> None:
    answer = ann.post(prefix + path)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (set(body), body["status"]) == ({"task_id", "status", "message"}, "submitted")
    assert answer.headers["location"] == f"/api/v1/tasks/{body['task_id']}"
    assert ann.get(f"/tasks/{body['task_id']}/status").json()["data"]["state"] == "PENDING"
    assert ann.get(answer.headers["location"]).json()["queue"] == "upkeep"


def test_the_message_that_is_sent_carries_the_requests_id_and_the_arguments(edge: Served, ann: httpx.Client) -> None:
    answer = ann.post("/tasks/test/add?x=7&y=8")

    async def newest() -> Any:
        return await edge.parts.broker.lindex("upkeep", 0)

    headers = json.loads(edge.run(newest()))["headers"]
    assert headers["id"] == answer.json()["task_id"]
    assert headers["moorage_context"]["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "path",
    [
        "/add",
        "/add?x=1",
        "/add?x=a&y=1",
        "/add?x=nan&y=1",
        "/add?x=1&y=inf",
        "/add?x=-inf&y=1",
        "/add?x=1e999&y=1",
        "/sleep?seconds=-1",
        "/sleep?seconds=nan",
        "/sleep?seconds=inf",
        "/sleep?seconds=3601",
        "/sleep?seconds=long",
        "/fail?times=-1",
        "/fail?times=x",
        "/fail?times=1.5",
    ],
)
def test_arguments_that_make_no_sense_are_refused(edge: Served, ann: httpx.Client, path: str) -> None:
    answer = ann.post(f"/tasks/test{path}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert ann.get("/tasks").json()["count"] == 0
