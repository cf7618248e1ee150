"""A hundred slots when nobody says how many: the number of cores, Celery's default, means nothing to waiting tasks."""

from __future__ import annotations

from typing import Any

from celery.signals import celeryd_init

from tasks.pool.settings import DEFAULT_CONCURRENCY

POOL = "tasks.pool:AsyncioPool"


@celeryd_init.connect(weak=False)
def give_default(conf: Any, options: dict[str, Any], **_: object) -> None:
    """Sets the default for this worker, if it has this pool and neither `-c` nor `worker_concurrency` is given.

    Celery sends the signal before it puts the number of cores in the place of no answer.
    """
    chosen = options.get("pool_cls") or options.get("pool") or conf.worker_pool
    name = chosen if isinstance(chosen, str) else f"{chosen.__module__}:{chosen.__qualname__}"
    if name in {POOL, "tasks.pool.pool:AsyncioPool"} and not (options.get("concurrency") or conf.worker_concurrency):
        conf.worker_concurrency = DEFAULT_CONCURRENCY
