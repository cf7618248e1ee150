"""How Celery's worker handles an actor's message: as any other, and a cancellation is written down too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from celery.worker.request import Request

from tasks import bridge, revocation
from tasks.actor import ACTORS
from tasks.clock import SystemClock
from tasks.errors import MoorageError
from tasks.runner import Delivery

log = structlog.get_logger(__name__)

_thread = ThreadPoolExecutor(1, "moorage-revocations")
_Stock: Any = Request  # what is leaned on here is not in the type stubs


class ActorRequest(_Stock):  # type: ignore[misc]
    """Celery's Request, which tells its own stores of a cancellation and nobody else's."""

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> None:
        super()._announce_revoked(reason, terminated, signum, expired)
        actor = ACTORS[self.name]
        if actor.keep_result:
            sent = Delivery.of(self.request_dict).record(actor, SystemClock().now())
            _thread.submit(_write_down, sent)  # the worker's own thread has to go on


def _write_down(sent: Any) -> None:
    try:
        bridge.run(lambda parts: revocation.write_down(parts, sent))
    except MoorageError as error:
        log.warning("task.not_written_down", task_id=sent.task_id, reason=type(error).__name__)
