"""The parts of Moorage, each run in the foreground of its own process: API, worker, beat."""

from __future__ import annotations

import os

import structlog
import uvicorn
from celery.bin.celery import celery

from observability import logs
from observability.logs import LogSettings
from service.settings import ServiceSettings
from service.unknown_settings import notices
from tasks import collector
from tasks.settings import TaskSettings, read

ROLE_VARIABLE = "MOORAGE_ROLE"
"""How a worker's wiring, imported by Celery, learns what its log lines are to be called."""

POOL_VARIABLE = "MOORAGE_POOL"

log = structlog.get_logger(__name__)


def run_api() -> None:
    """Serves HTTP until it is told to stop; open requests get a while to finish."""
    from service.app import create_app
    from service.bounded_headers import BoundedHeaders

    alone = _named("api")
    settings = read(ServiceSettings, os.environ)
    logs.configure(read(LogSettings, os.environ), "api")
    _mind_spelling(alone)
    app = create_app(settings, read(TaskSettings, os.environ))
    collector.spare()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedHeaders,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_seconds),
    )


def _named(role: str) -> bool:
    """Gives this process its role, unless `moorage up` has named it; True when it runs alone."""
    alone = ROLE_VARIABLE not in os.environ
    os.environ.setdefault(ROLE_VARIABLE, role)
    return alone


def _mind_spelling(alone: bool) -> None:
    """Says which variables nothing reads. Under `moorage up` that has been said once for all."""
    for notice in notices(os.environ) if alone else ():
        log.warning("setting.unknown", notice=notice)


def run_worker(queues: list[str], concurrency: int | None, pool: str | None) -> None:
    """Consumes `queues` until it is told to stop. Exits with 0 then, with 75 when it wants to be started again (see
    `tasks/pool/recycling.py`), and otherwise when it broke down."""
    alone = _named("worker")
    if pool:
        os.environ[POOL_VARIABLE] = pool
    import tasks.worker

    _mind_spelling(alone)
    arguments = [
        "--app",
        tasks.worker.__name__,
        "--quiet",
        "worker",
        "--hostname",
        f"{'-'.join(queues)}@%h",
        "--queues",
        ",".join(queues),
    ]
    arguments += ["--without-gossip", "--without-mingle"]
    if concurrency:
        arguments += ["--concurrency", str(concurrency)]
    celery.main(arguments)  # and not `app.worker_main`, which forgets the exit code of a worker that broke down


def run_beat() -> None:
    """Sends the schedule's messages until it is told to stop. One is enough; two do no harm."""
    alone = _named("beat")
    import tasks.worker

    _mind_spelling(alone)
    celery.main(["--app", tasks.worker.__name__, "--quiet", "beat", "--pidfile="])
