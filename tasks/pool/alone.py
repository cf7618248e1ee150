"""Suspects: messages whose holders died again and again. From its third start on, one runs alone in its process.

    start 1, 2    among others; the worker dies; the transport raises the message's header `x-losses`
    start 3, …    alone ─▶ the body ends        a result or a failure like any other
                        ─▶ its process dies     the message killed it, nobody else was there: concluded, never run again
                        ─▶ the worker dies      nothing is concluded, the message comes back

So what only stood beside a killer is never blamed: alone, it ends well. The worker's other tasks go on meanwhile.
"""

from __future__ import annotations

import logging
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Task
from celery.exceptions import Reject
from celery.utils.log import get_logger

from tasks.pool.child import ChildDied

SUSPECT_LOSSES = 2

log: logging.Logger = get_logger(__name__)


class KilledAlone(Exception):
    """The task killed the process that ran it alone. Stands in for WorkerLostError where Celery would run it again."""


def conclude(task: Task[Any, Any], request: dict[str, Any], died: ChildDied) -> Exception:
    """What is to be raised for a message whose lone process died. Called where `await_` can be.

    First the task's own `on_killed_alone(request, exit_code)` is called, if it has one. When that fails, the message
    goes back as it is: whoever writes it down must have done so before it is gone.
    """
    log.error("%s[%s] killed the process that ran it alone: %s", task.name, request["id"], died)
    if (hook := getattr(task, "on_killed_alone", None)) is not None:
        try:
            hook(request, died.exit_code)
        except Exception:
            log.exception("%s[%s] could not be written down, and goes back", task.name, request["id"])
            return Reject("its lone end could not be written down", requeue=True)
    runs_again = task.reject_on_worker_lost or getattr(task, "retry_on_worker_lost", False)
    return KilledAlone(str(died)) if runs_again else WorkerLostError(str(died))
