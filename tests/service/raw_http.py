"""HTTP spoken by hand, for what no well-behaved client would send."""

from __future__ import annotations

import http.client
import io
import socket
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

DEADLINE_SECONDS = 30.0


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def problem(self) -> str:
        """The last word of the problem's type."""
        assert self.headers["Content-Type"] == "application/problem+json"
        return str(msgspec.json.decode(self.body)["type"]).removeprefix("urn:moorage:problem:")


class RawConnection:
    """One connection. Use it with `with`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Sends all of it."""
        self.socket.sendall(data)

    def head(self, method: str, path: str, **headers: object) -> None:
        """Sends a request's head; header names are written with underscores."""
        lines = [f"{method} {path} HTTP/1.1", "Host: moorage"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]).encode())

    def chunk(self, data: bytes) -> None:
        """Sends one chunk of a chunked body; an empty one ends it."""
        self.send(b"%x\r\n%s\r\n" % (len(data), data))

    def answer(self) -> Answer:
        """Reads one answer."""
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        return Answer(response.status, response.headers, response.read())

    def received(self) -> bytes:
        """Reads until the server hangs up, or resets the connection."""
        found = io.BytesIO()
        try:
            while piece := self.socket.recv(65_536):
                found.write(piece)
        except ConnectionResetError:
            pass
        return found.getvalue()
