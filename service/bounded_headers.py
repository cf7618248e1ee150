"""Uvicorn's HTTP protocol with a bound on heads: nobody makes the API hold more than 64 KiB of an unfinished one.

The parser keeps what a client sends of a head, or of the trailers after a chunked body, until it is complete, however
much that is, and long before a key is looked at. Here a connection that brings more than `MOST_HEAD_BYTES` without
finishing a head or bringing a byte of a body is answered 431 and closed. What arrives in one piece with the end of its
head was never kept for long, and passes.
"""

from __future__ import annotations

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.errors import PROBLEM_TYPE, URN, Problem

MOST_HEAD_BYTES = 64 * 1024

_PROBLEM = msgspec.json.encode(
    Problem(
        type=URN + "headers-too-large",
        title="The headers are too large",
        status=431,
        detail=f"The head of a request may have {MOST_HEAD_BYTES} bytes; send fewer or shorter headers.",
    )
)
_ANSWER = (
    "HTTP/1.1 431 Request Header Fields Too Large\r\n"
    f"content-type: {PROBLEM_TYPE}\r\ncontent-length: {len(_PROBLEM)}\r\nconnection: close\r\n\r\n"
).encode() + _PROBLEM


class BoundedHeaders(HttpToolsProtocol):
    """One connection."""

    _held_bytes = 0
    """Received since a head was last finished, or a byte of a body came."""
    _has_moved = False
    """Whether either happened in the piece that is being parsed."""

    def data_received(self, data: bytes) -> None:
        """Parses one piece, then judges what it left behind."""
        self._has_moved = False
        super().data_received(data)
        if self._has_moved:
            self._held_bytes = 0
            return
        self._held_bytes += len(data)
        if self._held_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_headers_complete(self) -> None:
        """A head is finished."""
        self._has_moved = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body came."""
        self._has_moved = True
        super().on_body(body)

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:  # else it would land amid the answer before
            self.transport.write(_ANSWER)
        self.transport.close()
