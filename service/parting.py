"""An answer to a client whose body is still on its way: sent at once, and then listened a while before hanging up.

A connection that is closed with unread bytes in it is reset, and the reset can overtake the answer: the client would
read "connection reset" where it was told why. So what still comes is read and thrown away, for a bounded time.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from litestar import Response
from litestar.types import ASGIApp, Message, Receive, Scope, Send

LINGER_SECONDS = 2.0


class PartingResponse(Response[bytes]):
    """A whole answer after which the connection is closed."""

    def to_asgi_response(self, *arguments: Any, **options: Any) -> Any:
        """The answer as an ASGI application."""
        return _then_linger(super().to_asgi_response(*arguments, **options))


def _then_linger(answer: ASGIApp) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        async def unfinished(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        await answer(scope, receive, unfinished)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _read_to_the_end(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return application


async def _read_to_the_end(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return
