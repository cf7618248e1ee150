"""Notices when the loop does not turn: names the task that blocks it, and lets the transport know.

The loop gives a sign of life now and then; a thread looks at how old it is. That costs nothing for each task.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Mapping

from celery.utils.log import get_logger

from tasks.pool.loop import LoopThread
from tasks.pool.run import Run

LIFE_SIGN = "the asyncio pool's event loop"

SIGN_SECONDS = 0.5
BLOCKED_SECONDS = 1.0
"""A loop that has not turned for so long makes other tasks wait that could go on."""

log: logging.Logger = get_logger(__name__)


class Watch:
    """Looks after one loop."""

    def __init__(self, thread: LoopThread, runs: Mapping[int, Run]) -> None:
        self._thread, self._runs = thread, runs
        self._sign_at = time.monotonic()
        self._stopped = threading.Event()
        self._is_blocked = False
        thread.soon(self._give_sign)
        threading.Thread(target=self._look, name="celery-asyncio-watch", daemon=True).start()

    def seconds_since_last_sign(self) -> float:
        """How old the loop's last sign of life is."""
        return time.monotonic() - self._sign_at

    def stop(self) -> None:
        """Looks away."""
        self._stopped.set()
        if life := sys.modules.get("tasks.transport.life"):
            life.unregister(self.seconds_since_last_sign)

    def _give_sign(self) -> None:
        self._sign_at = time.monotonic()
        self._thread.loop.call_later(SIGN_SECONDS, self._give_sign)

    def _look(self) -> None:
        while not self._stopped.wait(SIGN_SECONDS):
            was_blocked, self._is_blocked = self._is_blocked, self._blocked_seconds() > BLOCKED_SECONDS
            if self._is_blocked and not was_blocked:
                self._tell()

    def _blocked_seconds(self) -> float:
        return self.seconds_since_last_sign() - SIGN_SECONDS

    def _tell(self) -> None:
        frame = sys._current_frames().get(self._thread.thread.ident or 0)
        stack = "".join(traceback.format_stack(frame)[-5:]) if frame else ""
        log.warning("%s blocks the event loop, and with it every other task in it, at:\n%s", self._culprit(), stack)

    def _culprit(self) -> str:
        running = asyncio.current_task(self._thread.loop)
        for run in tuple(self._runs.values()):
            if run.task is running:
                return f"{run.name}[{run.request['id']}]"
        return repr(running)


def register(seconds_since_last_sign: Callable[[], float], running_tags: Callable[[], Collection[str]]) -> None:
    """Tells the transport of `tasks.transport`, when that is the one in use, what lives and what runs.

    It keeps its hands on what runs through a lost connection, and lets go of it when this process is hung.
    """
    if life := sys.modules.get("tasks.transport.life"):
        life.register(LIFE_SIGN, seconds_since_last_sign)
    if running := sys.modules.get("tasks.transport.running"):
        running.register(running_tags)
