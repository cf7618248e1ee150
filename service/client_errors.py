"""What can go wrong between the command line and a Moorage server, and the exit code each has: one table.

ClientError
├── Unreachable        nobody answers at the address
│   └── ConnectionLost     somebody answered, and then no more
├── NotAllowed         no key, a wrong one, or one without the scope (401, 403)
├── NotFound           an id or a CID the server does not know (404)
├── Rejected           any other answer that is not a success
├── NotSent            a file that would fare no better than the one before it
├── TaskFailed         the task ended in FAILURE or REVOKED
└── BadFile            the local file cannot be read or written, or changed meanwhile
"""

from __future__ import annotations

from typing import ClassVar

import httpx
import msgspec

DONE, FAILED, USAGE, UNREACHABLE, NOT_FOUND, NOT_ALLOWED = range(6)

EXIT_CODES = {
    DONE: "done",
    FAILED: "the task failed, or the server or a local file refused",
    USAGE: "wrong usage",
    UNREACHABLE: "no server answers",
    NOT_FOUND: "not found",
    NOT_ALLOWED: "not allowed (401, 403)",
}
"""What each exit code of the client's commands means."""


class ClientError(Exception):
    """Root of the client's errors. `str(error)` is one sentence for the user."""

    exit_code: ClassVar[int] = FAILED
    type: ClassVar[str] = "client-error"


class Unreachable(ClientError):
    """Nobody answers at the address."""

    exit_code = UNREACHABLE
    type = "unreachable"

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"no Moorage answers at {url}; start it with `moorage up`, or give its address with --url")


class ConnectionLost(Unreachable):
    """The server stopped answering in the middle of something."""

    type = "connection-lost"

    def __init__(self, url: str, doing: str) -> None:
        super().__init__(url)
        self.doing = doing
        self.args = (f"the connection to {url} broke while {doing}; try again",)


class Answered(ClientError):
    """The server's own words for a failure, with the request id under which its logs tell more."""

    def __init__(
        self, status: int, problem_type: str, sentence: str, request_id: str = "", retry_after: str = ""
    ) -> None:
        self.status, self.problem_type, self.sentence = status, problem_type, sentence
        self.request_id, self.retry_after = request_id, retry_after
        super().__init__(f"{sentence} (request {request_id})" if request_id else sentence)


class NotAllowed(Answered):
    """No key, a wrong one, or one without the scope."""

    exit_code = NOT_ALLOWED


class NotFound(Answered):
    """An id or a CID the server does not know, or does not know as this owner's."""

    exit_code = NOT_FOUND


class Rejected(Answered):
    """Any other answer that is not a success."""


class NotSent(ClientError):
    """A file that was not tried: what befell an earlier one, `cause`, would befall it too."""

    type = "not-sent"

    def __init__(self, cause: ClientError) -> None:
        self.cause = cause
        super().__init__(f"not sent, after an earlier file failed: {cause}")


class TaskFailed(ClientError):
    """The task ended in FAILURE or REVOKED."""

    def __init__(self, state: str, problem_type: str, message: str) -> None:
        self.state, self.problem_type, self.message = state, problem_type, message
        super().__init__(message or {"REVOKED": "the task was cancelled"}.get(state, "the task failed"))


class BadFile(ClientError):
    """A local file cannot be read or written, or changed while it was sent."""

    type = "bad-file"


_BY_STATUS: dict[int, type[Answered]] = {401: NotAllowed, 403: NotAllowed, 404: NotFound}


class _Problem(msgspec.Struct):
    """RFC 9457, as far as it is shown."""

    type: str = ""
    title: str = ""
    detail: str = ""
    request_id: str = ""


def answered(response: httpx.Response) -> Answered:
    """The error that a read response stands for."""
    try:
        problem = msgspec.json.decode(response.content, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a proxy's page, say
        problem = _Problem()
    phrase = f"the server answered {response.status_code} {response.reason_phrase}".rstrip()
    sentence = (problem.detail or problem.title or phrase).rstrip(".")
    request_id = problem.request_id or response.headers.get("X-Request-ID", "")
    shape = _BY_STATUS.get(response.status_code, Rejected)
    return shape(response.status_code, problem.type, sentence, request_id, response.headers.get("Retry-After", ""))
