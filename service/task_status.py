"""Status of tasks: the live record, or the catalog when Redis does not have it. Other owners' tasks do not exist."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Request, Response, Router, get
from litestar.datastructures import State as AppState
from litestar.params import FromPath, FromQuery, QueryParameter

from service.auth import any_key, principal_of
from service.errors import NotFinished, TaskFailed
from service.quick_json import quick_json
from service.schemas import ResultAnswer, StatusAnswer, TaskList, TaskView, status_answer, task_view
from service.task_pages import page_of
from tasks.catalog import tasks as rows
from tasks.catalog.tasks import State
from tasks.errors import RecordsUnavailable, TaskNotFound
from tasks.heartbeat import ActiveTask, is_alive, read_signs
from tasks.parts import Parts
from tasks.record_cache import RecordCache
from tasks.records import STATUSES, Record, from_row

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_LISTED = 200

AnyRequest = Request[Any, Any, AppState]


async def find(request: AnyRequest, task_id: str) -> Record:
    """The asking owner's task.

    Raises TaskNotFound, or RecordsUnavailable when Redis is away and the catalog has no answer.
    """
    if not _ID.fullmatch(task_id):
        raise TaskNotFound(task_id)
    records: RecordCache = request.app.state.records
    trouble: RecordsUnavailable | None = None
    try:
        record = await records.get(task_id)
    except RecordsUnavailable as error:
        record, trouble = None, error
    if record is None:
        record = await _from_catalog(request.app.state.parts, task_id, trouble)
    if record.owner != principal_of(request).owner:
        raise TaskNotFound(task_id)
    return record


async def _from_catalog(parts: Parts, task_id: str, trouble: RecordsUnavailable | None) -> Record:
    async with parts.catalog.read() as connection:
        row = await rows.get(connection, task_id)
    if row is not None:
        return from_row(row)
    raise trouble or TaskNotFound(task_id)  # while Redis is away, "unknown" cannot be told from "only there"


@get("/{task_id:str}/status", summary="How far a task is")
async def status(request: AnyRequest, task_id: FromPath[str]) -> Response[StatusAnswer]:
    """The short form, for polling: state, progress, message, and the result or the error when there is one."""
    record = await find(request, task_id)
    return quick_json(status_answer(record))


@get("/{task_id:str}", summary="The whole record of a task")
async def detail(request: AnyRequest, task_id: FromPath[str]) -> Response[TaskView]:
    """Everything known of a task."""
    record = await find(request, task_id)
    return quick_json(task_view(record))


@get("/{task_id:str}/result", summary="The result of a finished task")
async def result(request: AnyRequest, task_id: FromPath[str]) -> Response[ResultAnswer]:
    """The result; 409 with the state while there is none, and the failure's problem when there will be none."""
    record = await find(request, task_id)
    if record.state == "FAILURE" and record.error is not None:
        raise TaskFailed(record.error.type, record.error.message)
    if record.state != "SUCCESS":
        raise NotFinished(record.state)
    return quick_json(ResultAnswer(task_id, record.state, STATUSES[record.state], record.result))


@get("/", summary="The owner's tasks, newest first")
async def listing(
    request: AnyRequest,
    of_state: Annotated[State | None, QueryParameter(name="state")] = None,
    queue: FromQuery[str] = "",
    actor: FromQuery[str] = "",
    before: FromQuery[datetime | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MOST_LISTED)] = 50,
) -> Response[TaskList]:
    """Filtered by `state`, `queue` and `actor`; `before` takes the `next_before` of the page that came before."""
    parts: Parts = request.app.state.parts
    owner = principal_of(request).owner
    before_seconds = None if before is None else before.replace(tzinfo=before.tzinfo or UTC).timestamp()

    def fits(record: Record) -> bool:
        same_state = of_state is None or record.state == of_state
        return same_state and queue in ("", record.queue) and actor in ("", record.actor)

    async with parts.catalog.read() as connection:
        found = await rows.newest(
            connection,
            owner,
            states=_stored_as(of_state),
            queue=queue,
            actor=actor,
            before=before_seconds,
            limit=limit,
        )
    durable, passing = [from_row(row) for row in found], list[Record]()
    active: dict[str, list[ActiveTask]] = {}
    try:
        live = await parts.records.get_many([record.task_id for record in durable])
        durable = [later or record for record, later in zip(durable, live, strict=True)]
        passing = await parts.records.owned(owner, before_seconds, fits, limit)
        active = await _active(parts, owner)
    except RecordsUnavailable:
        pass  # the catalog's part of the list is still true
    page = page_of([durable, passing], fits, limit)
    next_before = None if page.next_before is None else datetime.fromtimestamp(page.next_before, UTC)
    return quick_json(TaskList([task_view(record) for record in page.records], len(page.records), next_before, active))


def _stored_as(state: State | None) -> tuple[State, ...]:
    """The catalog's word for a state: progress is a live record's business."""
    if state is None:
        return ()
    return ("STARTED",) if state == "PROGRESS" else (state,)


async def _active(parts: Parts, owner: str) -> dict[str, list[ActiveTask]]:
    now = parts.clock.now()
    signs = [sign for sign in await read_signs(parts.redis, now) if is_alive(sign, now)]
    return {sign.hostname: [task for task in sign.active if task.owner == owner] for sign in signs}


def router(path: str) -> Router:
    """The task routes below `path`."""
    return Router(path, route_handlers=[listing, detail, status, result], before_request=any_key, tags=["Tasks"])
