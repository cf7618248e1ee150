"""How a request ended, as its client saw it: a client that left early is told from one that had every byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from observability.http_middleware import HttpMiddleware
from observability.metrics import LocalMetrics

LogLines = Callable[[], list[dict[str, Any]]]


async def call(app: Any, metrics: LocalMetrics, method: str = "GET") -> HttpMiddleware:
    middleware = HttpMiddleware(app, metrics)

    async def send(message: Any) -> None:
        pass

    scope = {"type": "http", "method": method, "path": "/x", "headers": [], "path_template": "/x"}
    await middleware(scope, None, send)
    return middleware


async def answer_half(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})


async def cancelled(scope: Any, receive: Any, send: Any) -> None:
    raise asyncio.CancelledError


async def reset_by_peer(scope: Any, receive: Any, send: Any) -> None:
    raise ConnectionResetError


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    pass


@pytest.mark.parametrize("app", [answer_half, cancelled, reset_by_peer, says_nothing])
async def test_a_client_that_left_is_499(app: Any, log_lines: LogLines) -> None:
    metrics = LocalMetrics("1")

    try:
        await call(app, metrics)
    except (asyncio.CancelledError, ConnectionResetError):
        assert app in (cancelled, reset_by_peer)

    labels = {"method": "GET", "route": "/x", "status": "499"}
    assert metrics.registry.get_sample_value("moorage_http_requests_total", labels) == 1
    assert log_lines()[-1]["status"] == 499


def unfinished(status: int, body: bytes, leaves_by: type[BaseException] | None = None) -> Any:
    """An application whose client leaves after `body` of an answer of four bytes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"Content-Length", b"4")]})
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        if leaves_by:
            raise leaves_by

    return app


@pytest.mark.parametrize(
    ("method", "app", "status"),
    [
        ("GET", unfinished(200, b"full"), 200),
        ("GET", unfinished(206, b"full"), 206),
        ("GET", unfinished(200, b"full", asyncio.CancelledError), 200),
        ("GET", unfinished(200, b"full", ConnectionResetError), 200),
        ("GET", unfinished(200, b"full", ZeroDivisionError), 500),
        ("GET", unfinished(200, b"hal"), 499),
        ("GET", unfinished(200, b"hal", asyncio.CancelledError), 499),
        ("GET", unfinished(200, b""), 499),
        ("GET", unfinished(304, b""), 304),
        ("HEAD", unfinished(200, b""), 200),
        ("HEAD", says_nothing, 499),
    ],
)
async def test_a_client_that_left_with_every_byte_was_answered(
    method: str, app: Any, status: int, log_lines: LogLines
) -> None:
    with contextlib.suppress(asyncio.CancelledError, ConnectionResetError, ZeroDivisionError):
        await call(app, LocalMetrics("1"), method)

    assert log_lines()[-1]["status"] == status


async def test_requests_being_answered_show_as_active(log_lines: LogLines) -> None:
    metrics = LocalMetrics("1")
    seen: list[float | None] = []

    async def look(scope: Any, receive: Any, send: Any) -> None:
        seen.append(metrics.registry.get_sample_value("moorage_http_requests_active"))

    await call(look, metrics)

    assert seen == [1.0]
