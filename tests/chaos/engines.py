"""Whose workers are killed: Moorage's pool and transport, and stock Celery told to recover as soon as it can."""

from __future__ import annotations

import json
from typing import NamedTuple

APPLICATION = "tests.chaos.chaos_app"
LEASE_SECONDS = 3.0


class Engine(NamedTuple):
    """What is put through the kills: the task it runs best, the worker's options, and Celery's settings as JSON."""

    name: str
    task: str
    options: tuple[str, ...]
    settings: str


OURS = Engine(
    "Moorage's pool and transport",
    "effect_async",
    (),
    json.dumps(
        {
            "worker_pool": "tasks.pool:AsyncioPool",
            "asyncio_pool_application": f"{APPLICATION}:app",
            "broker_transport": "tasks.transport:Transport",
            "broker_transport_options": {"lease_seconds": LEASE_SECONDS},
        }
    ),
)
STOCK = Engine(
    "stock Celery, prefork -c2",
    "effect",
    ("-P", "prefork", "-c", "2"),
    json.dumps(
        {
            # As quick to recover as it can be told to be; by default it takes an hour.
            "broker_transport_options": {
                "visibility_timeout": LEASE_SECONDS,
                "unacked_restore_interval": 1,
                "unacked_restore_throttle": 1,
            }
        }
    ),
)
