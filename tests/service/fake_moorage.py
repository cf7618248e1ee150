"""A tiny server that speaks Moorage's contract, on a real socket, doing what a test tells it to."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import uvicorn

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CID = "bafkreifakefakefake"


@dataclass
class Answer:
    """One scripted answer; `cut_after` closes the connection after so many bytes of the body."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None


def problem(status: int, sentence: str, **headers: str) -> Answer:
    body = {"type": "urn:moorage:problem:test", "title": "No", "detail": sentence, "request_id": "req-1"}
    return Answer(status, json.dumps(body).encode(), headers)


def task(state: str, **data: Any) -> Answer:
    return Answer(body=json.dumps({"status": 200, "data": {"task_id": "task-1", "state": state, **data}}).encode())


def succeeded(**result: Any) -> Answer:
    return task("SUCCESS", progress=100, message="done", result={"cid": CID, **result})


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class FakeMoorage:
    """Answers from `script`, in order; when that is empty, uploads are accepted and the rest is 404."""

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.seen: list[Seen] = []
        self.url = ""

    def will(self, *answers: Answer) -> None:
        self.script.extend(answers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        raw_path = scope["raw_path"].decode()
        self.seen.append(Seen(scope["method"], raw_path, scope["query_string"].decode(), headers, body))
        answer = self.script.popleft() if self.script else self._accept(scope["method"], raw_path, body)
        await self._send(answer, send)

    def _accept(self, method: str, path: str, body: bytes) -> Answer:
        if method != "PUT":
            return problem(404, "There is no such task.")
        name = unquote(path.rpartition("/")[2])
        accepted = {"task_id": "task-1", "state": "PENDING", "filename": name, "size_bytes": len(body)}
        return Answer(202, json.dumps(accepted).encode())

    async def _send(self, answer: Answer, send: Send) -> None:
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
        if answer.cut_after is not None:
            await send({"type": "http.response.body", "body": answer.body[: answer.cut_after], "more_body": True})
            return  # uvicorn hangs up on an application that returns in the middle of its answer
        await send({"type": "http.response.body", "body": answer.body})


@contextmanager
def running_fake() -> Iterator[FakeMoorage]:
    """The fake on a free port, in a thread with a loop of its own."""
    fake = FakeMoorage()
    listener = socket.create_server(("127.0.0.1", 0))
    fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(fake, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()  # the socket listens already, so no request is refused while the server starts
    try:
        yield fake
    finally:
        server.should_exit = True
        thread.join()
