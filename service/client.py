"""Talks to a Moorage server: sends files, watches tasks, fetches content. Streams both ways, holds no file in memory.

Requests that change nothing are sent again when the server is busy (429, 503, honouring `Retry-After`) or restarts in
between. An upload is sent once: whether to send it again is the user's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from service.client_errors import Answered, ClientError, ConnectionLost, Rejected, Unreachable, answered
from service.client_files import PIECE_BYTES, Source
from service.client_pacing import ATTEMPTS, LONGEST_RETRY_SECONDS, poll_delay_seconds, retry_delay_seconds
from service.client_probe import refusal
from tasks.clock import Clock, SystemClock

BUSY = (429, 503)
NO_SUCH_RANGE = 416
T = TypeVar("T")
FINAL_STATES = ("SUCCESS", "FAILURE", "REVOKED")

PATIENCE = httpx.Timeout(30.0, connect=10.0)
UPLOAD_PATIENCE = httpx.Timeout(60.0, connect=10.0, read=900.0)
"""After the last byte the server still makes a large file durable before it answers."""


class Accepted(msgspec.Struct, frozen=True):
    """What the server answers to an upload."""

    task_id: str
    state: str
    filename: str
    size_bytes: int
    status_url: str = ""


class TaskError(msgspec.Struct, frozen=True):
    """Why a task failed."""

    type: str = ""
    message: str = ""


class TaskStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a task stands; `progress` is in per cent."""

    task_id: str
    state: str
    progress: float | None = None
    message: str | None = None
    result: Any = None
    error: TaskError | None = None

    @property
    def is_final(self) -> bool:
        """Whether it will never change again."""
        return self.state in FINAL_STATES

    @property
    def cid(self) -> str | None:
        """The CID in the result, if there is one."""
        cid = self.result.get("cid") if isinstance(self.result, dict) else None
        return cid if isinstance(cid, str) else None


class _StatusAnswer(msgspec.Struct, frozen=True):
    data: TaskStatus


class MoorageClient:
    """One server, one key. Use it with `async with`."""

    def __init__(self, url: str, key: str = "", clock: Clock | None = None) -> None:
        self._url = url.rstrip("/")
        self._clock = clock or SystemClock()
        headers = {"X-API-Key": key} if key else {}
        self._http = httpx.AsyncClient(base_url=self._url, headers=headers, timeout=PATIENCE)
        self._was_reached = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def upload(self, source: Source, profile: str, on_sent: Callable[[int], None]) -> Accepted:
        """Sends `source`; `on_sent` gets the bytes sent so far. An empty `profile` leaves the choice to the server.

        Raises ClientError.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if source.size_bytes is not None:
            headers["Content-Length"] = str(source.size_bytes)
        body = _Body(source.pieces(), on_sent)
        request = self._http.build_request(
            "PUT",
            f"/api/v1/uploads/{quote(source.name, safe='')}",
            params={"profile": profile} if profile else {},
            headers=headers,
            content=body,
            timeout=UPLOAD_PATIENCE,
        )
        try:
            response = await self._http.send(request)
        except httpx.TransportError as error:
            lost = self._lost(error, f"{source.name} was sent")
            if not isinstance(lost, ConnectionLost):
                raise lost from error
            # Of a pipe as much is announced as was read of it: what it exceeds by that, it exceeds.
            announced_bytes = body.begun_bytes if source.size_bytes is None else source.size_bytes
            raise await asyncio.to_thread(refusal, request, announced_bytes) or lost from error
        return _decoded(response, Accepted)

    async def status(self, task_id: str) -> TaskStatus:
        """Where the task stands. Raises ClientError."""
        response = await self._get(f"/api/v1/tasks/{quote(task_id, safe='')}/status")
        return _decoded(response, _StatusAnswer).data

    async def follow(self, task_id: str, on_status: Callable[[TaskStatus], None]) -> TaskStatus:
        """Asks until the task is done; `on_status` gets every answer. Raises ClientError."""
        polls = 0
        while True:
            status = await self.status(task_id)
            on_status(status)
            if status.is_final:
                return status
            await asyncio.sleep(poll_delay_seconds(polls))
            polls += 1

    async def download(
        self, path: str, write: Callable[[bytes], Awaitable[object]], on_received: Callable[[int, int | None], None]
    ) -> int:
        """Fetches `/ipfs/<path>` into `write`; returns its size in bytes.

        `on_received` gets the bytes received and the bytes expected, where known. Raises ClientError, also when the
        content ends before its announced length.
        """
        received_bytes = 0
        async with aclosing(await self._get(f"/ipfs/{quote(path, safe='/')}", stream=True)) as response:
            length = response.headers.get("Content-Length", "")
            expected_bytes = int(length) if length.isdecimal() else None
            try:
                async for piece in response.aiter_raw(PIECE_BYTES):
                    await write(piece)
                    received_bytes += len(piece)
                    on_received(received_bytes, expected_bytes)
            except httpx.TransportError as error:
                why = await self._why_cut(path, response.num_bytes_downloaded)
                raise why or self._lost(error, f"{path} was received") from error
        return received_bytes

    async def _why_cut(self, path: str, received_bytes: int) -> Answered | None:
        """What the server has against giving the rest, which it could not say once the content had begun."""
        asked = await self._get_once(f"/ipfs/{quote(path, safe='/')}", stream=True, Range=f"bytes={received_bytes}-")
        if isinstance(asked, httpx.Response):
            await asked.aclose()
            return None
        # There being no rest (416) is no reason.
        return asked if isinstance(asked, Answered) and asked.status != NO_SUCH_RANGE else None

    async def _get(self, path: str, *, stream: bool = False) -> httpx.Response:
        """A success; with `stream` its body is not yet read, and closing it is the caller's. Raises ClientError."""
        failures = 0
        while True:
            outcome = await self._get_once(path, stream)
            if isinstance(outcome, httpx.Response):
                return outcome
            failures += 1
            retry_after = outcome.retry_after if isinstance(outcome, Answered) else ""
            delay_seconds = retry_delay_seconds(failures, retry_after, self._clock.now())
            if failures == ATTEMPTS or delay_seconds > LONGEST_RETRY_SECONDS or not self._may_pass(outcome):
                raise outcome
            await asyncio.sleep(delay_seconds)

    async def _get_once(self, path: str, stream: bool, **headers: str) -> httpx.Response | ClientError:
        request = self._http.build_request("GET", path, headers={"Accept-Encoding": "identity", **headers})
        try:
            response = await self._http.send(request, stream=stream)
            self._was_reached = True
            if response.is_success:
                return response
            await response.aread()
        except httpx.TransportError as error:
            return self._lost(error, "waiting for an answer")
        return answered(response)

    def _may_pass(self, error: ClientError) -> bool:
        """A busy server may be less so soon; one that answered before and is gone may be restarting."""
        if isinstance(error, Answered):
            return error.status in BUSY
        return self._was_reached

    def _lost(self, error: httpx.TransportError, doing: str) -> ClientError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
            return Unreachable(self._url)
        return ConnectionLost(self._url, doing)


class _Body:
    """The pieces of an upload, counted as they go."""

    def __init__(self, pieces: AsyncIterator[bytes], on_sent: Callable[[int], None]) -> None:
        self._pieces, self._on_sent = pieces, on_sent
        self.begun_bytes = 0
        """With those of the piece that is being sent."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._pieces:
            self.begun_bytes += len(piece)
            yield piece
            self._on_sent(self.begun_bytes)


def _decoded(response: httpx.Response, shape: type[T]) -> T:
    """A success's body as `shape`. Raises Answered for anything else."""
    if not response.is_success:
        raise answered(response)
    try:
        return msgspec.json.decode(response.content, type=shape)
    except msgspec.DecodeError as error:
        sentence = "what answers there does not speak like Moorage; check the address"
        raise Rejected(response.status_code, "", sentence) from error
