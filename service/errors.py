"""One table: each error, its HTTP status, its stable `type` and the sentence that says what to do.

Answers are problem details (RFC 9457) with the request's id, which is also in the logs. They never hold a path, a key
or a stack trace: what is not in the table is "internal" and its cause is only logged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.params import ParameterKwarg
from litestar.status_codes import HTTP_405_METHOD_NOT_ALLOWED

from service.allowed_methods import allowed_methods
from service.parting import PartingResponse
from tasks import errors

PROBLEM_TYPE = "application/problem+json"
URN = "urn:moorage:problem:"

log = structlog.get_logger(__name__)


class Refused(Exception):
    """Root of what the edge refuses by itself."""


class Unauthenticated(Refused):
    """No key, or one that is not valid."""


class Forbidden(Refused):
    """A valid key without the scope that the call needs."""

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__(scope)


class UploadTooLarge(Refused):
    """More bytes than one upload may have."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(limit_bytes)


class UploadStalled(Refused):
    """An upload that brought nothing for longer than it may."""

    def __init__(self, stall_seconds: float) -> None:
        self.stall_seconds = stall_seconds
        super().__init__(stall_seconds)


class TooManyUploads(Refused):
    """Every upload slot of this process is taken."""

    retry_after_seconds = 2


class BadUpload(Refused):
    """A body or a name that cannot be an upload; `reason` is a full sentence."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class ClientGone(Refused):
    """The client hung up before its body was complete. Nobody reads the answer; it is for the access log."""


class NotFinished(Refused):
    """A result that was asked for too early."""

    def __init__(self, state: str) -> None:
        self.state = state
        super().__init__(state)


class TaskFailed(Refused):
    """The result of a task that failed was asked for."""

    def __init__(self, error_type: str, message: str) -> None:
        self.error_type, self.message = error_type, message
        super().__init__(message)


class UnsupportedFormat(Refused):
    """A representation of content that this gateway does not give."""


class RangeNotSatisfiable(Refused):
    """A byte range that begins past the end."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        super().__init__(size_bytes)


class Line(msgspec.Struct, frozen=True):
    """One line of the table. `sentence` gets the error."""

    status: int
    slug: str
    title: str
    sentence: Callable[[Any], str]
    headers: Callable[[Any], dict[str, str]] = lambda _: {}


def _say(sentence: str) -> Callable[[Any], str]:
    return lambda _: sentence


TABLE: dict[type[Exception], Line] = {
    Unauthenticated: Line(
        401,
        "unauthenticated",
        "A valid key is needed",
        _say("Send a key as `X-API-Key: ipfs_gw_…` or `Authorization: Bearer ipfs_gw_…`."),
        lambda _: {"WWW-Authenticate": 'Bearer realm="moorage"'},
    ),
    Forbidden: Line(
        403,
        "forbidden",
        "The key may not do this",
        lambda e: f"This call needs a key with the scope `{e.scope}`; ask whoever gave you the key.",
    ),
    errors.TaskNotFound: Line(
        404, "task-not-found", "No such task", _say("No task with this id was given to this key's owner.")
    ),
    BadUpload: Line(400, "bad-upload", "Not an upload", lambda e: e.reason),
    UploadTooLarge: Line(
        413,
        "upload-too-large",
        "The upload is too large",
        lambda e: f"One upload may have {e.limit_bytes} bytes; split it, or have the limit raised.",
    ),
    UploadStalled: Line(
        408,
        "upload-stalled",
        "The upload stalled",
        lambda e: f"Nothing came for {e.stall_seconds:g} s and nothing of it was kept; send it again.",
    ),
    TooManyUploads: Line(
        429,
        "too-many-uploads",
        "Too many uploads at once",
        _say("Every upload slot is taken; try again after the seconds in Retry-After."),
        lambda e: {"Retry-After": str(e.retry_after_seconds)},
    ),
    ClientGone: Line(499, "client-gone", "The client hung up", _say("The upload was cut off; nothing of it was kept.")),
    errors.DiskFull: Line(
        507,
        "disk-full",
        "No room left",
        _say("The data volume is full; free some room or ask the operator, then send it again."),
    ),
    errors.CatalogUnavailable: Line(
        503,
        "catalog-unavailable",
        "The catalog is away",
        _say("The database cannot be reached; nothing was accepted, try again shortly."),
        lambda _: {"Retry-After": "5"},
    ),
    errors.RecordsUnavailable: Line(
        503,
        "broker-unavailable",
        "The broker is away",
        _say("Redis cannot be reached; try again shortly."),
        lambda _: {"Retry-After": "5"},
    ),
    errors.StoreUnavailable: Line(
        503,
        "store-unavailable",
        "The content store is away",
        _say("The content store cannot be reached; try again shortly, and tell the operator if it lasts."),
        lambda _: {"Retry-After": "5"},
    ),
    errors.InvalidArguments: Line(400, "invalid-arguments", "Arguments do not fit", lambda e: f"{e.reason}."),
    NotFinished: Line(
        409,
        "task-not-finished",
        "The task is not finished",
        lambda e: f"The task's state is {e.state}; its result is there once that is SUCCESS.",
    ),
    TaskFailed: Line(422, "task-failed", "The task failed", lambda e: f"It ended with {e.error_type}: {e.message}."),
    errors.InvalidCID: Line(400, "invalid-cid", "Not a CID", lambda e: f"The path holds no CID: {e.reason}."),
    errors.UnsupportedCID: Line(406, "unsupported-cid", "This CID cannot be read", lambda e: f"{e}."),
    errors.BlockNotFound: Line(404, "content-not-found", "Not stored here", lambda e: f"{e}."),
    errors.BlockDamaged: Line(
        500, "content-damaged", "The content is damaged", lambda e: f"{e}; tell the operator, and send the file again."
    ),
    UnsupportedFormat: Line(
        406,
        "unsupported-format",
        "No such representation",
        _say("Content is given as it is, or as one block with `?format=raw`."),
    ),
    RangeNotSatisfiable: Line(
        416,
        "range-not-satisfiable",
        "The range is past the end",
        lambda e: f"The content has {e.size_bytes} bytes.",
        lambda e: {"Content-Range": f"bytes */{e.size_bytes}"},
    ),
}

INTERNAL = Line(
    500, "internal", "Something went wrong here", _say("Not your fault; quote the request_id to the operator.")
)


class Problem(msgspec.Struct, omit_defaults=True):
    """The answer's body; extra members are `state` (of an unfinished task) and `error` (of a failed one)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None
    state: str | None = None
    error: dict[str, str] | None = None


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The problem that stands for `error`."""
    line = _line(request, error)
    if line is INTERNAL:
        log.error("http.unhandled", exc_info=error)
    elif line.status >= 500:
        log.warning("http.refused", problem=line.slug, reason=str(error))
    problem = Problem(
        type=URN + line.slug,
        title=line.title,
        status=line.status,
        detail=line.sentence(error),
        request_id=request.scope.get("state", {}).get("request_id"),
        state=error.state if isinstance(error, NotFinished) else None,
        error={"type": error.error_type, "message": error.message} if isinstance(error, TaskFailed) else None,
    )
    headers = line.headers(error)
    if line.status == HTTP_405_METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(allowed_methods(request.app, request.scope["path"]))
    kind: type[Response[bytes]] = Response
    if request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers:
        headers["Connection"] = "close"  # else the server would read the rest of the body for nothing
        kind = PartingResponse
    return kind(msgspec.json.encode(problem), status_code=line.status, media_type=PROBLEM_TYPE, headers=headers)


def _line(request: Request[Any, Any, Any], error: Exception) -> Line:
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind]
    if isinstance(error, HTTPException) and error.status_code < 500:
        slug = _HTTP_SLUGS.get(error.status_code, "refused")
        return Line(error.status_code, slug, _title(error), lambda e: _detail(request, e))
    return INTERNAL


_HTTP_SLUGS = {400: "bad-request", 404: "no-such-path", 405: "method-not-allowed", 413: "too-large"}


def _title(error: HTTPException) -> str:
    return {404: "No such path", 405: "No such method here"}.get(error.status_code, "The request cannot be used")


def _detail(request: Request[Any, Any, Any], error: HTTPException) -> str:
    extra = error.extra if isinstance(error.extra, list) else []
    found = [item for item in extra if isinstance(item, dict) and "key" in item]
    reasons = [f"{_name_outside(request, item['key'])}: {item['message']}" for item in found]
    if reasons:
        return "; ".join(reasons) + "."
    return {404: "The API is described at /docs.", 405: "The API is described at /docs."}.get(
        error.status_code, str(error.detail)
    )


def _name_outside(request: Request[Any, Any, Any], argument: str) -> str:
    """What callers call a handler's argument."""
    known = request.route_handler.parsed_fn_signature.parameters.get(argument)
    declared = known.kwarg_definition if known else None
    return (isinstance(declared, ParameterKwarg) and declared.name) or argument
