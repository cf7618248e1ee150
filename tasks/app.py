"""The Celery application. Importing it connects to nothing and reads nothing; `configure` makes it usable."""

from __future__ import annotations

from celery import Celery
from kombu import Exchange, Queue

from tasks import transport
from tasks.queues import QUEUES, UPKEEP
from tasks.redis_address import celery_options, celery_tls, celery_url
from tasks.schedule import beat_schedule
from tasks.settings import TaskSettings

app = Celery("moorage", include=["tasks.jobs.ingest", "tasks.jobs.upkeep", "tasks.jobs.diagnostics"])

REDIS_TIMEOUT_SECONDS = 5.0
SOCKET_OPTIONS = {
    "socket_keepalive": True,
    "socket_connect_timeout": REDIS_TIMEOUT_SECONDS,
    "health_check_interval": 25,
}
RESULTS = {
    "redis": "tasks.results:Results",
    "rediss": "tasks.results:Results",
    "socket": "tasks.results:Results",
    "sentinel": "tasks.results:SentinelResults",
}
"""What the address of a result backend stands for."""
POOLS = {"asyncio": "tasks.pool:AsyncioPool", "prefork": "prefork", "threads": "threads"}
PREFORK_TASKS_PER_CHILD = 1_000
HANDING_BACK_SECONDS = 10.0
"""How long the bridge may take to hand back its tasks, before the pool of a worker that recycles itself steps in."""


def configure(settings: TaskSettings) -> Celery:
    """Sets the application up for these settings; nothing is connected yet."""
    if settings.transport == "lossless":
        transport.install()
    else:
        transport.uninstall()
    app.loader.override_backends = RESULTS
    app.conf.update(_pool_options(settings))
    app.conf.update(_addresses(settings))
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        redis_backend_health_check_interval=25,
        redis_socket_timeout=REDIS_TIMEOUT_SECONDS,
        redis_socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        result_expires=settings.record_ttl_seconds,
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        task_default_queue=UPKEEP,
        task_acks_late=True,  # a killed worker's message comes back; the catalog keeps it from counting twice
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        beat_schedule=beat_schedule(),
        beat_scheduler="celery.beat:Scheduler",  # in memory: every entry may run again after a restart
        enable_utc=True,
    )
    return app


def _addresses(settings: TaskSettings) -> dict[str, object]:
    broker = settings.broker_url or settings.redis_url
    results = settings.result_backend_url or settings.redis_url
    lease = {"lease_seconds": settings.message_lease_seconds}
    return {
        "broker_url": celery_url(broker),
        "broker_transport_options": SOCKET_OPTIONS | celery_options(broker, REDIS_TIMEOUT_SECONDS) | lease,
        "broker_use_ssl": celery_tls(broker) or False,
        "result_backend": celery_url(results),
        "result_backend_transport_options": SOCKET_OPTIONS | celery_options(results, REDIS_TIMEOUT_SECONDS),
        "redis_backend_use_ssl": celery_tls(results),
    }


def _pool_options(settings: TaskSettings) -> dict[str, object]:
    tasks_per_child = settings.recycle_after_tasks or (PREFORK_TASKS_PER_CHILD if settings.pool == "prefork" else None)
    return {
        "worker_pool": POOLS[settings.pool],
        "worker_concurrency": settings.concurrency or None,
        "worker_max_tasks_per_child": tasks_per_child,
        "worker_max_memory_per_child": settings.recycle_above_bytes // 1024 or None,
        "asyncio_pool_application": "tasks.worker:app",
        "asyncio_pool_threads": settings.threads,
        "asyncio_pool_processes": settings.processes,
        "asyncio_pool_recycle_grace_seconds": settings.shutdown_grace_seconds + HANDING_BACK_SECONDS,
    }
