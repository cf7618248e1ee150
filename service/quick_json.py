"""JSON answers without Litestar's response machinery, for routes that are asked thousands of times a second.

What is left out is what those routes do not use: cookies, background work, type encoders and header merging.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec
from litestar import Response
from litestar.types import Receive, Scope, Send

T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


def quick_json(value: T) -> Response[T]:
    """A 200 with `value`, encoded here and now."""
    return cast("Response[T]", _QuickResponse(_encode(value)))


class _QuickResponse(Response[Any]):
    """Stands where Litestar expects a response, and becomes the ASGI application that sends it."""

    __slots__ = ("_body",)

    def __init__(self, body: bytes) -> None:
        self._body = body

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """Itself: there is nothing to render."""
        return self.send

    async def send(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """The whole answer."""
        length = (b"content-length", str(len(self._body)).encode())
        headers = [(b"content-type", b"application/json"), length]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._body, "more_body": False})
