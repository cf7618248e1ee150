"""Gives every HTTP request an id, counts and times it by its route, and writes one line about it.

It stands outermost, around the whole application, so that what the router refuses and what the error handlers answer
is seen too. Bodies of requests pass it by untouched.
"""

from __future__ import annotations

import logging
import os
import re
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars
from structlog.typing import FilteringBoundLogger

from observability import context
from observability.metrics import LocalMetrics

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

UNMATCHED = "unmatched"
CLIENT_CLOSED = 499
BODILESS = frozenset((204, 304))
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
PROBES = frozenset(("/livez", "/readyz", "/health", "/metrics"))

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class HttpMiddleware:
    """Wraps an ASGI application.

    The request id is the client's `X-Request-ID` if that is sane, else a new one; the application finds it in
    `scope["state"]["request_id"]`, its log lines carry it, and the answer repeats it. The route comes from
    `scope["path_template"]`, which Litestar's router sets; paths themselves never become labels.
    """

    def __init__(self, app: ASGIApp, metrics: LocalMetrics) -> None:
        self._app = app
        self._metrics = metrics
        self._children: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}
        self._active = 0
        metrics.http_requests_active.set_function(lambda: self._active)  # asked at a scrape, not told at each request
        self._log: FilteringBoundLogger = structlog.get_logger("moorage.http")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers one ASGI connection; anything but HTTP passes through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope["headers"])
        # A server may start a request inside the context of the one before it on the same connection.
        context.clear()
        bind_contextvars(request_id=request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        exchange = _Exchange(scope["method"], scope["path"], request_id, send)  # the path before the router rewrites it
        self._active += 1
        try:
            await self._app(scope, receive, exchange.send)
        except BaseException as error:
            exchange.broke_off(error)
            raise
        finally:
            self._active -= 1
            self._record(scope, exchange)

    def _record(self, scope: Any, exchange: _Exchange) -> None:
        duration_seconds = time.perf_counter() - exchange.began
        method, route, status = scope["method"], _route(scope), exchange.final_status()
        count, observe = self._children_of(method if method in METHODS else "OTHER", route, status)
        count()
        observe(duration_seconds)
        cheap = (route in PROBES or route.endswith("/status")) and method == "GET" and status < 500
        level = logging.DEBUG if cheap else logging.INFO
        if not self._log.is_enabled_for(level):
            return
        self._log.log(
            level,
            "http.request",
            method=method,
            route=route,
            path=exchange.path,
            status=status,
            duration_seconds=round(duration_seconds, 6),
            response_bytes=exchange.sent_bytes,
        )

    def _children_of(self, method: str, route: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
        key = (method, route, status)
        if (children := self._children.get(key)) is None:
            counter = self._metrics.http_requests.labels(method, route, str(status))
            histogram = self._metrics.http_request_duration.labels(method, route)
            children = self._children[key] = (counter.inc, histogram.observe)
        return children


class _Exchange:
    """One request and what was answered so far."""

    __slots__ = ("_complete", "_headers", "_method", "_send", "_status", "began", "path", "request_id", "sent_bytes")

    def __init__(self, method: str, path: str, request_id: str, send: Any) -> None:
        self.began = time.perf_counter()
        self._method = method
        self.path = path
        self.request_id = request_id
        self.sent_bytes = 0
        self._status = 0
        self._headers: Any = ()
        self._complete = False
        self._send = send

    def send(self, message: Any) -> Awaitable[None]:
        """Notes what goes by. Not a coroutine itself, so that each message costs a call and no more."""
        kind = message["type"]
        if kind == "http.response.body":
            self.sent_bytes += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
        elif kind == "http.response.start":
            self._status = message["status"]
            self._headers = message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", self.request_id.encode()),
            ]
        return self._send(message)  # type: ignore[no-any-return]

    def broke_off(self, error: BaseException) -> None:
        """The application raised: its client left, perhaps satisfied, or got half an answer or the server's own 500."""
        if not isinstance(error, CancelledError | ConnectionError):
            self._complete, self._status = True, 500

    def final_status(self) -> int:
        """The status as the client saw it. An application that returns with its answer unfinished lost its client."""
        return self._status if self._complete or self._has_every_byte() else CLIENT_CLOSED

    def _has_every_byte(self) -> bool:
        """Whether the client got all there was to get: it may hang up before the application says that it was all."""
        if self._method == "HEAD" or self._status in BODILESS:
            return self._status != 0
        whole = str(self.sent_bytes).encode()
        return any(name.lower() == b"content-length" and value == whole for name, value in self._headers)


def _request_id(headers: Any) -> str:
    for name, value in headers:
        if name == b"x-request-id":
            return value.decode("ascii") if _SANE_ID.fullmatch(value) else os.urandom(16).hex()
    return os.urandom(16).hex()


def _route(scope: Any) -> str:
    template = scope.get("path_template")
    if template:
        return str(template)
    # A mounted application leaves its template empty; the path it is mounted on is as good.
    handler = scope.get("route_handler")
    return UNMATCHED if handler is None else min(handler.paths, default=UNMATCHED)
