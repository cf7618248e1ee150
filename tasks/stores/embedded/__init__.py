"""The embedded content store: uploaded files kept whole, their blocks found through an index."""

from tasks.stores.embedded.store import EmbeddedStore

__all__ = ["EmbeddedStore"]
