"""Which messages are being worked on: those that must stay held when a connection is lost.

A worker pool that knows better than Celery registers itself; until one does, Celery's own list is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection

Runs = Callable[[], Collection[str]]

_registered: list[Runs] = []


def register(runs: Runs) -> None:
    """From now on `runs` says which delivery tags are being worked on."""
    _registered.append(runs)


def unregister(runs: Runs) -> None:
    """It is not asked any more."""
    _registered.remove(runs)


def tags() -> set[str]:
    """The delivery tags of everything that is being worked on in this process."""
    return {tag for runs in (_registered or [_known_to_celery]) for tag in runs()}


def _known_to_celery() -> Collection[str]:
    state = sys.modules.get("celery.worker.state")
    if state is None:
        return ()
    return [request.message.delivery_tag for request in tuple(state.active_requests)]
