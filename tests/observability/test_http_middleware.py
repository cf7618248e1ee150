"""Every request has an id, one line and its place in the counts, whatever the application makes of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import structlog
from litestar import Litestar, MediaType, Request, WebSocket, asgi, get, post, websocket
from litestar.exceptions import NotAuthorizedException
from litestar.params import FromPath
from litestar.response import Stream
from litestar.testing import TestClient

from observability.http_middleware import HttpMiddleware
from observability.metrics import LocalMetrics

LogLines = Callable[[], list[dict[str, Any]]]


@get("/files/{name:str}")
async def show(request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, str]:
    structlog.get_logger("app").info("handled", name=name)
    return {"request_id": request.state.request_id}


@get("/tasks/{task_id:str}/status")
async def poll(task_id: FromPath[str]) -> dict[str, str]:
    return {"task_id": task_id}


@get("/livez", media_type=MediaType.TEXT)
async def livez() -> str:
    return "ok"


@get("/readyz", status_code=503, media_type=MediaType.TEXT)
async def readyz() -> str:
    return "no"


@post("/upload")
async def upload(request: Request[Any, Any, Any]) -> dict[str, int]:
    return {"size_bytes": sum([len(chunk) async for chunk in request.stream()])}


@get("/denied")
async def denied() -> None:
    structlog.contextvars.bind_contextvars(owner_id="o-1")
    raise NotAuthorizedException


@get("/broken")
async def broken() -> None:
    raise ZeroDivisionError


@get("/breaks-off")
async def breaks_off() -> Stream:
    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    return Stream(half())


async def plain_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


mounted = asgi("/mounted", is_mount=True, copy_scope=True)(plain_app)


@websocket("/ws")
async def talk(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


class Served:
    """A Litestar application inside the middleware, and what was counted of it."""

    def __init__(self) -> None:
        self.metrics = LocalMetrics("1")
        handlers = [show, poll, livez, readyz, upload, denied, broken, breaks_off, mounted, talk]
        self.app = HttpMiddleware(Litestar(handlers, logging_config=None), self.metrics)

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://moorage") as client:
            return await client.request(method, path, **more)

    def counted(self) -> dict[tuple[str, str, str], float]:
        samples = [sample for family in self.metrics.http_requests.collect() for sample in family.samples]
        return {(s.labels["method"], s.labels["route"], s.labels["status"]): s.value for s in samples}


@pytest.fixture
def served(log_lines: LogLines) -> Served:
    return Served()


async def test_a_sane_request_id_is_kept_and_reaches_handler_log_and_answer(
    served: Served, log_lines: LogLines
) -> None:
    answer = await served.ask("GET", "/files/a.txt", headers={"X-Request-ID": "client-1_a.b"})

    assert answer.headers.get_list("x-request-id") == ["client-1_a.b"]
    assert answer.json() == {"request_id": "client-1_a.b"}
    assert [(line["event"], line["request_id"]) for line in log_lines()] == [
        ("handled", "client-1_a.b"),
        ("http.request", "client-1_a.b"),
    ]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", 'q"', "é"])
async def test_any_other_request_id_is_replaced(served: Served, given: str) -> None:
    answer = await served.ask("GET", "/livez", headers={"X-Request-ID": given.encode("utf-8")})

    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_the_access_line_tells_route_and_path_without_the_query(served: Served, log_lines: LogLines) -> None:
    answer = await served.ask("GET", "/files/a%20b.txt?api_key=secret")

    line = log_lines()[-1]
    assert line.pop("duration_seconds") >= 0
    assert {key: line[key] for key in ("event", "level", "method", "route", "path", "status", "response_bytes")} == {
        "event": "http.request",
        "level": "info",
        "method": "GET",
        "route": "/files/{name}",
        "path": "/files/a b.txt",
        "status": 200,
        "response_bytes": len(answer.content),
    }
    assert "secret" not in str(log_lines())


async def test_requests_are_counted_and_timed_by_route_template(served: Served) -> None:
    for name in "abc":
        await served.ask("GET", f"/files/{name}")

    registry = served.metrics.registry
    labels = {"method": "GET", "route": "/files/{name}"}
    assert served.counted() == {("GET", "/files/{name}", "200"): 3}
    assert registry.get_sample_value("moorage_http_request_duration_seconds_count", labels) == 3
    assert registry.get_sample_value("moorage_http_requests_active") == 0


async def test_what_the_router_refuses_is_counted_without_its_path_or_method(served: Served) -> None:
    for number in range(5):
        await served.ask("GET", f"/nothing/{number}")
    await served.ask("DELETE", "/files/a")
    await served.ask("BREW", "/files/a")

    assert served.counted() == {
        ("GET", "unmatched", "404"): 5,
        ("DELETE", "unmatched", "405"): 1,
        ("OTHER", "unmatched", "405"): 1,
    }


async def test_mounted_applications_are_counted_by_where_they_are_mounted(served: Served) -> None:
    await served.ask("GET", "/mounted/a")
    await served.ask("GET", "/mounted/b/c")

    assert served.counted() == {("GET", "/mounted", "200"): 2}


async def test_errors_answered_by_the_application_keep_their_status(served: Served, log_lines: LogLines) -> None:
    assert (await served.ask("GET", "/denied")).headers["x-request-id"]
    assert (await served.ask("GET", "/broken")).headers["x-request-id"]

    assert served.counted() == {("GET", "/denied", "401"): 1, ("GET", "/broken", "500"): 1}
    assert [line.get("owner_id") for line in log_lines()] == ["o-1", None]


async def test_an_answer_that_breaks_off_counts_as_a_failure(served: Served) -> None:
    await served.ask("GET", "/breaks-off")

    assert served.counted() == {("GET", "/breaks-off", "500"): 1}


async def test_cheap_polls_are_logged_at_debug_unless_they_fail(served: Served, log_lines: LogLines) -> None:
    await served.ask("GET", "/tasks/t-1/status")
    await served.ask("GET", "/livez")
    await served.ask("GET", "/readyz")

    assert [(line["route"], line["level"]) for line in log_lines()] == [
        ("/tasks/{task_id}/status", "debug"),
        ("/livez", "debug"),
        ("/readyz", "info"),
    ]


async def test_bodies_of_requests_arrive_untouched(served: Served) -> None:
    answer = await served.ask("POST", "/upload", content=b"x" * 100_000)

    assert answer.json() == {"size_bytes": 100_000}


async def test_nothing_of_the_request_before_is_said_of_the_next(served: Served, log_lines: LogLines) -> None:
    structlog.contextvars.bind_contextvars(owner_id="of the request before")

    await served.ask("GET", "/livez")

    assert "owner_id" not in log_lines()[-1]


def test_lifespan_and_websockets_pass_through(served: Served) -> None:
    with TestClient(served.app) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_text() == "hello"

    assert served.counted() == {}
