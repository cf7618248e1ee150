"""Reads content back by CID: `GET /ipfs/{cid}`, whole or by range, as it is or as one raw block.

Every block is checked against its hash before a byte of it is sent. What is found damaged before the answer has begun
is an error; found later, the connection is cut, so that the client sees a short answer and never a wrong one.
https://specs.ipfs.tech/http-gateways/path-gateway/
"""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from typing import Any, Protocol
from urllib.parse import quote

import structlog
from litestar import HttpMethod, MediaType, Request, Response, Router, route
from litestar.connection import ASGIConnection
from litestar.datastructures import State as AppState
from litestar.params import FromPath
from litestar.response import Stream

from service import byte_ranges
from service.auth import PRINCIPAL, needs, principal_of
from service.errors import UnsupportedFormat
from service.settings import ServiceSettings
from tasks.catalog import uploads
from tasks.errors import BlockDamaged, BlockNotFound
from tasks.parts import Parts
from tasks.stores.cid import CID

MAX_AGE_SECONDS = 29_030_400
RAW_TYPE = "application/vnd.ipld.raw"
DEFAULT_TYPE = "application/octet-stream"

AnyRequest = Request[Any, Any, AppState]

log = structlog.get_logger(__name__)


class GatewayMetrics(Protocol):
    """What is counted of reading."""

    def block_damaged(self) -> None:
        """A block did not match its hash."""


_check_reader = needs("read")


async def readers_only(request: AnyRequest) -> None:
    """Asks for the scope `read`, unless the gateway is public."""
    if _settings(request).gateway != "public":
        await _check_reader(request)


@route(
    "/{cid:str}",
    http_method=[HttpMethod.GET, HttpMethod.HEAD],
    summary="Content by its CID",
    media_type=MediaType.TEXT,
)
async def content(request: AnyRequest, cid: FromPath[str]) -> Response[Any]:
    """The file, or with `?format=raw` the block. `Range`, `If-None-Match` and `If-Range` are heeded."""
    parsed = CID.parse(cid)
    if _wants_raw(request):
        return await _raw(request, parsed)
    return await _file(request, parsed)


@route("/{cid:str}/{path:path}", http_method=[HttpMethod.GET, HttpMethod.HEAD], include_in_schema=False)
async def below(cid: FromPath[str], path: FromPath[str]) -> Response[Any]:
    """Files have nothing below them."""
    raise BlockNotFound(f"{CID.parse(cid)}{path}")


def router(path: str) -> Router:
    """The gateway below `path`."""
    return Router(path, route_handlers=[content, below], before_request=readers_only, tags=["Content"])


async def _file(request: AnyRequest, cid: CID) -> Response[Any]:
    etag = f'"{cid}"'
    parts: Parts = request.app.state.parts
    size_bytes = (await _watched(request, parts.store.stat(cid))).size_bytes
    if _unchanged(request, etag):
        return _answer(request, None, 304, _headers(request, cid, etag))
    wanted = _range(request, etag, size_bytes)
    start, stop = wanted or (0, size_bytes)
    headers = _headers(request, cid, etag) | {
        "Accept-Ranges": "bytes",
        "Content-Length": str(stop - start),
        "Content-Type": await _content_type(request, cid),
        "Content-Disposition": _disposition(request),
    }
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size_bytes}"
    status = 206 if wanted else 200
    if request.method == "HEAD":
        return _answer(request, None, status, headers)
    pieces = _watched_pieces(request, parts.store.read_file(cid, start, stop))
    first = await anext(pieces, b"")  # what is damaged or missing at the very beginning is a proper error
    return Stream(_joined(first, pieces), status_code=status, headers=headers)


async def _raw(request: AnyRequest, cid: CID) -> Response[Any]:
    etag = f'"{cid}.raw"'
    headers = _headers(request, cid, etag)
    parts: Parts = request.app.state.parts
    block = await _watched(request, parts.store.read_block(cid))
    if _unchanged(request, etag):
        return _answer(request, None, 304, headers)
    headers |= {
        "Content-Type": RAW_TYPE,
        "Content-Length": str(len(block)),
        "Content-Disposition": f'attachment; filename="{cid}.bin"',
    }
    return _answer(request, block, 200, headers)


def _answer(request: AnyRequest, body: bytes | None, status: int, headers: dict[str, str]) -> Response[Any]:
    return Response(None if request.method == "HEAD" else body, status_code=status, headers=headers)


def _headers(request: AnyRequest, cid: CID, etag: str) -> dict[str, str]:
    """What every answer about this content says. It never changes, but who may read it can."""
    reach = "public" if _settings(request).gateway == "public" else "private"
    return {
        "Etag": etag,
        "Cache-Control": f"{reach}, max-age={MAX_AGE_SECONDS}, immutable",
        "X-Ipfs-Path": f"/ipfs/{cid}",
        "X-Ipfs-Roots": str(cid),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",  # uploads are strangers' files: none may act as this origin
        "Vary": "Accept, Authorization, X-API-Key",
    }


def _wants_raw(request: AnyRequest) -> bool:
    asked = request.query_params.get("format")
    if asked not in (None, "raw"):
        raise UnsupportedFormat
    return asked == "raw" or request.headers.get("accept", "").split(";")[0].strip() == RAW_TYPE


def _unchanged(request: AnyRequest, etag: str) -> bool:
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def _range(request: AnyRequest, etag: str, size_bytes: int) -> tuple[int, int] | None:
    header = request.headers.get("range", "")
    if request.method == "HEAD" or request.headers.get("if-range", etag) != etag:
        return None  # RFC 9110, 14.2: ranges are for GET only
    return byte_ranges.parse(header, size_bytes) if header else None


async def _content_type(request: AnyRequest, cid: CID) -> str:
    """By the name asked for, else as the asking owner uploaded it. Content itself has no type."""
    name = request.query_params.get("filename", "")
    guessed = mimetypes.guess_type(name, strict=False)[0]
    if guessed or PRINCIPAL not in request.scope:
        return guessed or DEFAULT_TYPE
    parts: Parts = request.app.state.parts
    async with parts.catalog.read() as connection:
        return await uploads.content_type_of(connection, principal_of(request).owner, str(cid)) or DEFAULT_TYPE


def _disposition(request: AnyRequest) -> str:
    kind = "attachment" if request.query_params.get("download") == "true" else "inline"
    name = request.query_params.get("filename", "")
    return f"{kind}; filename*=UTF-8''{quote(name, safe='')}" if name else kind


async def _watched(request: AnyRequest, reading: Any) -> Any:
    try:
        return await reading
    except BlockDamaged as error:
        _report(request, error)
        raise


async def _watched_pieces(request: AnyRequest, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield piece
    except BlockDamaged as error:
        _report(request, error)
        raise


def _report(request: AnyRequest, error: BlockDamaged) -> None:
    """Once an answer has begun, nobody but the log hears why it was cut."""
    _metrics(request).block_damaged()
    log.error("content.damaged", cid=request.path_params["cid"], block=error.cid)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _settings(connection: ASGIConnection[Any, Any, Any, Any]) -> ServiceSettings:
    settings: ServiceSettings = connection.app.state.settings
    return settings


def _metrics(request: AnyRequest) -> GatewayMetrics:
    metrics: GatewayMetrics = request.app.state.metrics
    return metrics
