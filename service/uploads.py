"""Uploads: bytes in, a task id out, and only when nothing can lose them any more.

The order is the promise: bytes on disk (fsync, rename), then the catalog's row, then the message, then 202. Before the
row, a crash leaves a file that the sweeper removes; after it, a task that the reconciler finishes.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, Protocol

import msgspec
from litestar import Request, Response, Router, post, put
from litestar.datastructures import State as AppState
from litestar.params import FromPath, FromQuery, QueryParameter
from structlog.contextvars import get_contextvars

from service.auth import needs, principal_of
from service.errors import BadUpload, ClientGone, TooManyUploads, UploadStalled, UploadTooLarge
from service.multipart_body import MOST_OTHER_BYTES, FilePart, boundary_of, file_pieces
from service.naming import DEFAULT_NAME, checked_name, name_in, type_of
from service.receiving import Claim, Limits, Room, body_pieces, receive
from service.schemas import UploadAnswer
from service.settings import ServiceSettings
from tasks.catalog import tasks as rows
from tasks.catalog import uploads
from tasks.catalog.tasks import TaskRow
from tasks.catalog.uploads import UploadRow
from tasks.errors import DiskFull
from tasks.jobs.ingest import ingest
from tasks.parts import Parts
from tasks.staging import StagedFile
from tasks.stores.protocol import DEFAULT_PROFILE, Profile

AnyRequest = Request[Any, Any, AppState]
Kind = Literal["raw", "multipart"]
Outcome = Literal["accepted", "rejected", "aborted"]
ProfileName = Annotated[Profile, QueryParameter(description="Import profile of IPIP-499; it decides the CID.")]


class UploadMetrics(Protocol):
    """What is counted of uploads."""

    def upload_started(self) -> None:
        """One begins."""

    def upload_finished(
        self, kind: Kind, outcome: Literal["accepted", "rejected", "aborted"], size: int, s: float
    ) -> None:
        """It ended, after `size` bytes and `s` seconds."""


class Slots:
    """How many uploads one process receives at a time, and the room they share."""

    def __init__(self, most: int) -> None:
        self._free = most
        self.room = Room()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """One of them. Raises TooManyUploads."""
        if self._free == 0:
            raise TooManyUploads
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class Description(msgspec.Struct, frozen=True):
    """What a file is called and how it is to be imported."""

    filename: str
    content_type: str
    profile: Profile


@post("/", status_code=202, summary="Upload a file", request_max_body_size=None)
async def upload(
    request: AnyRequest, filename: FromQuery[str | None] = None, profile: ProfileName = DEFAULT_PROFILE
) -> Response[UploadAnswer]:
    """Takes a raw body, named by `Content-Disposition` or `?filename=`, or a multipart form with one file."""
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        return await _accept_multipart(request, boundary_of(content_type), filename, profile)
    name = filename or name_in(request.headers.get("content-disposition", "")) or DEFAULT_NAME
    return await _accept_raw(request, name, profile)


@put("/", status_code=202, summary="Upload a file under its default name", request_max_body_size=None)
async def upload_unnamed(
    request: AnyRequest, filename: FromQuery[str | None] = None, profile: ProfileName = DEFAULT_PROFILE
) -> Response[UploadAnswer]:
    """Takes a raw body, as `curl -T -` sends it."""
    return await _accept_raw(request, filename or DEFAULT_NAME, profile)


@put("/{filename:path}", status_code=202, summary="Upload a file under a name", request_max_body_size=None)
async def upload_named(
    request: AnyRequest, filename: FromPath[str], profile: ProfileName = DEFAULT_PROFILE
) -> Response[UploadAnswer]:
    """Takes a raw body, as `curl -T` sends it."""
    return await _accept_raw(request, filename.removeprefix("/"), profile)


def router(path: str) -> Router:
    """The upload routes below `path`."""
    return Router(
        path, route_handlers=[upload, upload_unnamed, upload_named], before_request=needs("upload"), tags=["Uploads"]
    )


async def _accept_raw(request: AnyRequest, filename: str, profile: Profile) -> Response[UploadAnswer]:
    name = checked_name(filename)
    described = Description(name, type_of(request.headers.get("content-type", ""), name), profile)
    async with _receiving(request, "raw") as (task_id, staged, claim):
        await receive(body_pieces(request), staged, _limits(request), claim)
        return await _accept(request, task_id, staged, described)


async def _accept_multipart(
    request: AnyRequest, boundary: str, filename: str | None, profile: Profile
) -> Response[UploadAnswer]:
    part = FilePart()
    async with _receiving(request, "multipart") as (task_id, staged, claim):
        await receive(file_pieces(body_pieces(request), boundary, part), staged, _limits(request), claim)
        name = checked_name(filename or part.filename)
        described = Description(name, type_of(part.content_type, name), profile)
        return await _accept(request, task_id, staged, described)


@asynccontextmanager
async def _receiving(request: AnyRequest, kind: Kind) -> AsyncIterator[tuple[str, StagedFile, Claim]]:
    """A task id, its staged file and its room, within the limits; what goes wrong inside leaves nothing of the file.

    Once it is sealed it is the sweeper's to judge: a commit that seemed to fail may have been made.
    """
    parts: Parts = request.app.state.parts
    metrics: UploadMetrics = request.app.state.metrics
    settings: ServiceSettings = request.app.state.settings
    slots: Slots = request.app.state.slots
    with slots.taken(), slots.room.claimed(parts.staging.free_bytes, settings.min_free_bytes) as claim:
        _check_length(request, around_bytes=MOST_OTHER_BYTES if kind == "multipart" else 0)
        await claim.promise(_content_length(request))
        task_id = str(uuid.uuid4())
        staged = await parts.staging.create(task_id)
        began = time.perf_counter()
        outcome: Outcome = "aborted"
        metrics.upload_started()
        try:
            yield task_id, staged, claim
            outcome = "accepted"
        except (BadUpload, UploadTooLarge, UploadStalled, DiskFull):
            outcome = "rejected"
            raise
        finally:
            await (staged.close() if staged.sealed else staged.discard())
            metrics.upload_finished(kind, outcome, staged.size_bytes, time.perf_counter() - began)


def _check_length(request: AnyRequest, around_bytes: int) -> None:
    """Refuses by what the headers say, before a byte is read. `around_bytes` of the body may not be the file's."""
    settings: ServiceSettings = request.app.state.settings
    announced_bytes, limit_bytes = _content_length(request), settings.max_upload_bytes
    if limit_bytes and announced_bytes > limit_bytes + around_bytes:
        raise UploadTooLarge(limit_bytes)


async def _accept(
    request: AnyRequest, task_id: str, staged: StagedFile, described: Description
) -> Response[UploadAnswer]:
    """Makes the received file an accepted upload."""
    parts: Parts = request.app.state.parts
    announced_bytes = _content_length(request)
    if announced_bytes and staged.size_bytes > announced_bytes:
        raise ClientGone  # not reached with a server that holds clients to their Content-Length
    await staged.seal()
    owner, now = principal_of(request).owner, parts.clock.now()
    arguments = {**msgspec.structs.asdict(described), "size_bytes": staged.size_bytes}
    row = TaskRow(
        id=task_id,
        owner=owner,
        actor=ingest.name,
        queue=ingest.queue,
        arguments=ingest.check(arguments),
        context={"request_id": str(get_contextvars().get("request_id", ""))},
        due_at=now,
        created_at=now,
    )
    async with parts.catalog.write() as transaction:
        await rows.add(transaction, row)
        await uploads.add(transaction, UploadRow(task_id=task_id, owner=owner, created_at=now, **arguments))
    await parts.dispatcher.hint(row)
    status_url = f"/api/v1/tasks/{task_id}/status"
    answer = UploadAnswer(task_id, "PENDING", described.filename, staged.size_bytes, status_url)
    return Response(answer, status_code=202, headers={"Location": f"/api/v1/tasks/{task_id}"})


def _limits(request: AnyRequest) -> Limits:
    settings: ServiceSettings = request.app.state.settings
    return Limits(settings.max_upload_bytes, settings.upload_stall_seconds)


def _content_length(request: AnyRequest) -> int:
    text = request.headers.get("content-length", "0")
    return int(text) if text.isdecimal() else 0
