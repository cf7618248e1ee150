"""An asyncio worker pool for Celery: `app.conf.worker_pool = "tasks.pool:AsyncioPool"`.

`async def` tasks run on one event loop, a hundred at a time or as many as `-c` says; plain ones in a few threads, heavy
ones in processes. Retries, canvas, signals, limits, revokes and shutdowns are Celery's own. Inside a task, synchronous
code may wait for a coroutine with `await_`.
"""

from __future__ import annotations

from tasks.pool import concurrency as _concurrency  # noqa: F401 - connects the default
from tasks.pool.loop import at_loop_end
from tasks.pool.pool import AsyncioPool
from tasks.pool.tracing import await_, in_trace

__all__ = ["AsyncioPool", "at_loop_end", "await_", "in_trace"]
