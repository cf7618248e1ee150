"""A small Celery application for child processes, and calls for them to run."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any, NoReturn

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, Task, signals

app = Celery("child_app", broker="memory://", backend="cache+memory://")

initialised_for: list[object] = []
stopping = threading.Event()


@signals.worker_process_init.connect(weak=False)
def on_init(sender: object, **_: Any) -> None:
    initialised_for.append(sender)


@signals.worker_process_shutdown.connect(weak=False)
def on_shutdown(sender: object, exitcode: int, **_: Any) -> None:
    if path := os.environ.get("CHILD_APP_GOODBYES"):
        Path(path).write_text(f"{sender} {exitcode}")


@signals.worker_shutting_down.connect(weak=False)
def on_stopping(**_: Any) -> None:
    stopping.set()


@app.task(bind=True)
def add(self: Task[Any, Any], x: int, y: int) -> list[Any]:
    return [x + y, self.request.id, self.request.hostname]


def hosts() -> list[object]:
    return initialised_for


def oom_score() -> str:
    return Path("/proc/self/oom_score_adj").read_text().strip()


def meet(folder: str, count: int) -> int:
    """Waits until so many processes have come here."""
    Path(folder, str(os.getpid())).touch()
    while len(list(Path(folder).iterdir())) < count:
        os.sched_yield()
    return os.getpid()


def kill_itself(number: int) -> NoReturn:
    os.kill(os.getpid(), number)
    while True:
        signal.pause()


def undermine() -> int:
    """Does no harm, except to whoever comes next."""
    globals()["undermined"] = True
    return os.getpid()


def tread() -> int:
    if globals().get("undermined"):
        kill_itself(signal.SIGKILL)
    return os.getpid()


def leave(exit_code: int) -> NoReturn:
    raise SystemExit(exit_code)


def fail(error: Exception) -> NoReturn:
    raise error


def give(value: Any) -> Any:
    return value


def give_a_lock() -> object:
    return threading.Lock()


def spin(begun: str) -> str:
    """Keeps a core busy until its time is up; says where."""
    Path(begun).write_text(str(os.getpid()))
    try:
        while True:
            pass
    except SoftTimeLimitExceeded:
        return "tidied up"


def leave_a_grandchild(pid_file: str) -> NoReturn:
    """Dies, and leaves a process behind that has everything it had."""
    grandchild = os.fork()
    if not grandchild:
        signal.pause()
    Path(pid_file).write_text(str(grandchild))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hear_of_the_stop() -> bool:
    return stopping.wait(20)


def hold(size_bytes: int) -> int:
    """Holds so much memory for ever."""
    globals()["held"] = b"\1" * size_bytes
    return os.getpid()
