"""A child process of the pool: imports the application, runs the calls it is handed one by one, and ends.

It is set up by what sets up a prefork child (`process_initializer`: logging, tracers, `worker_process_init`), says
goodbye as one does (`worker_process_shutdown`), and never outlives its worker: on Linux the kernel sees to that, and
everywhere the end of the channel does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import socket
import threading
from pathlib import Path

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, signals
from celery.app import trace
from celery.app.utils import find_app
from celery.concurrency.prefork import process_destructor, process_initializer
from celery.utils.serialization import get_pickleable_exception

from tasks.pool import frames
from tasks.pool.frames import SOFT_LIMIT_SIGNAL, Call

ORPHANED = 1

Words = queue.SimpleQueue[bytes]


class SoftLimit:
    """Turns the worker's signal into SoftTimeLimitExceeded, but only while a call runs."""

    def __init__(self) -> None:
        self._armed = False

    def __enter__(self) -> None:
        self._armed = True

    def __exit__(self, *_: object) -> None:
        self._armed = False

    def on_signal(self, *_: object) -> None:
        """The call has used up its time."""
        if self._armed:
            self._armed = False
            raise SoftTimeLimitExceeded


def main(descriptor: int, application: str, hostname: str) -> None:
    """Serves the worker at the other end of the socket `descriptor` until that says STOP or is gone."""
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)  # or what a body starts would keep the worker waiting for our end
    words: Words = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(channel, words, hostname), name="pool-channel", daemon=True).start()
    _volunteer_for_the_oom_killer()
    limit = SoftLimit()
    _set_up(find_app(application), hostname, limit)
    channel.sendall(frames.framed(frames.READY))
    exit_code = 1
    try:
        while (word := words.get()) != frames.STOP:
            channel.sendall(frames.framed(_outcome(word, limit)))
        exit_code = 0
    finally:
        process_destructor(os.getpid(), exit_code)


def _listen(channel: socket.socket, words: Words, hostname: str) -> None:
    for word in frames.heard(channel):
        if word == frames.STOPPING:
            signals.worker_shutting_down.send(sender=hostname, sig="STOPPING", how="Warm", exitcode=0)
        else:
            words.put(word)
    os._exit(ORPHANED)  # nobody is there to take an outcome, and the main thread may be deep in a body


def _volunteer_for_the_oom_killer() -> None:
    """Memory is short because of a body far more often than because of the worker, which has others to look after."""
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/oom_score_adj").write_text("1000")


def _set_up(app: Celery, hostname: str, limit: SoftLimit) -> None:
    # What a prefork child inherits from its worker by the fork: the registry that `fast_trace_task` looks into.
    app.loader.init_worker()
    trace.setup_worker_optimizations(app, hostname)
    process_initializer(app, hostname)
    signal.signal(SOFT_LIMIT_SIGNAL, limit.on_signal)
    # Some supervisors send SIGTERM to every process of a service; whether a call may end is for the worker to say. A
    # handler, since ignoring it would be inherited by the programs that bodies start.
    signal.signal(signal.SIGTERM, lambda *_: None)


def _outcome(word: bytes, limit: SoftLimit) -> bytes:
    try:
        call: Call = pickle.loads(word)  # noqa: S301 - our own worker's, by a socket that nobody else has
        with limit:
            value = call()
        return pickle.dumps((True, value))
    except Exception as error:
        return pickle.dumps((False, get_pickleable_exception(error)))
