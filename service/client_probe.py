"""Asks a server why it broke an upload off: a refusal sent while the body still comes is lost with the connection.

A server that answers early closes with unread bytes before it; the kernel then resets the connection and throws the
answer away (RFC 9112, 9.6). The head of the same request, sent without a body, gets the same answer, which arrives.
"""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection

import httpx

from service.client_errors import Answered, answered

PATIENCE_SECONDS = 2.0
NEVER_REPEATED = ("content-length", "transfer-encoding", "accept-encoding")


def refusal(request: httpx.Request, announced_bytes: int) -> Answered | None:
    """What the server has against this upload of `announced_bytes`; None when it would take it, or does not say.

    Blocks for a few seconds at most. An empty upload is never asked about: its head is all of it, and would be taken.
    """
    if announced_bytes == 0:
        return None
    connect = HTTPSConnection if request.url.scheme == "https" else HTTPConnection
    connection = connect(request.url.host, request.url.port, timeout=PATIENCE_SECONDS)
    try:
        _send_head(connection, request, announced_bytes)
        # A `100 Continue` is passed over; after it no answer comes, and the patience ends.
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    is_problem = response.headers.get_content_type() == "application/problem+json"
    if response.status < 400 or not is_problem:
        return None
    return answered(httpx.Response(response.status, headers=response.getheaders(), content=content))


def _send_head(connection: HTTPConnection, request: httpx.Request, announced_bytes: int) -> None:
    connection.putrequest(request.method, request.url.raw_path.decode(), skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name not in NEVER_REPEATED:
            connection.putheader(name, value)
    connection.putheader("Content-Length", str(announced_bytes))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
