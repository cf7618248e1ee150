"""Content for the gateway's tests to read back."""

from __future__ import annotations

import httpx

from tests.service.served import Served


def stored(edge: Served, client: httpx.Client, data: bytes, name: str = "a.bin", profile: str = "") -> str:
    params = {"profile": profile} if profile else {}
    answer = client.put(f"/api/v1/uploads/{name}", params=params, content=data)
    task_id = answer.json()["task_id"]
    edge.work_off(task_id)
    cid: str = client.get(f"/tasks/{task_id}/result").json()["result"]["cid"]
    return cid


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:moorage:problem:")
