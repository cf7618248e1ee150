# mypy: disable-error-code="import-not-found"
"""Dramatiq over Redis with its default middleware, and with its Prometheus middleware where the environment says so.

Run as a program it sends one task: the one named as its argument.
"""

from __future__ import annotations

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware.prometheus import Prometheus

broker = RedisBroker(url=os.environ["ENGINE_REDIS_URL"])
if os.environ.get("ENGINE_PROMETHEUS"):
    broker.add_middleware(Prometheus())
dramatiq.set_broker(broker)


def noop() -> None:
    """Nothing."""


def answer() -> None:
    """Tells whoever sent it that it has run."""
    broker.client.rpush("answers", 1)


actors = {body.__name__: dramatiq.actor(body, queue_name="engine") for body in (noop, answer)}

if __name__ == "__main__":
    actors[sys.argv[1]].send()
