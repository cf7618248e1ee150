"""Makes the content store that the settings ask for."""

from __future__ import annotations

from tasks.settings import TaskSettings
from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.memory import MemoryStore
from tasks.stores.protocol import ContentStore


def create(settings: TaskSettings) -> ContentStore:
    """The store of `settings.store`, not opened yet."""
    if settings.store == "memory":
        return MemoryStore()
    return EmbeddedStore(settings.store_folder)
