"""Every error the work can raise, with fields instead of sentences. `service/errors.py` turns them into HTTP.

MoorageError
├── InvalidSetting          a MOORAGE_* variable whose value does not fit
├── TaskNotFound            an id that was never given out, or to somebody else
├── InvalidArguments        arguments an actor cannot take; retrying cannot mend it
├── WorkerKilled            a task that ends the process it runs in
├── LeaseLost               this worker no longer holds the task; its result was refused
├── StagedFileMissing       neither the staging folder nor the store has the bytes of an upload
├── DiskFull                no room for what was asked
├── CatalogUnavailable      the database cannot be reached or is locked
├── RecordsUnavailable      Redis cannot be reached
└── StoreError
    ├── StoreUnavailable    the content store cannot work: its index, its volume or its version
    ├── InvalidCID          text that is not a CID
    ├── UnsupportedCID      a CID whose codec or hash this store cannot read
    ├── BlockNotFound       the store does not hold the block
    └── BlockDamaged        the store's bytes no longer match the block's hash
"""

from __future__ import annotations

from typing import Any


class MoorageError(Exception):
    """Root of all errors of the work. `str(error)` is safe to show: it holds no path, key or stack trace."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its fields: Celery copies errors that way, and would call the constructor with the sentence."""
        return _restore, (type(self), self.args), self.__dict__


def _restore(kind: type[MoorageError], arguments: tuple[Any, ...]) -> MoorageError:
    error = kind.__new__(kind)
    error.args = arguments
    return error


class InvalidSetting(MoorageError):
    """A variable whose value does not fit its field."""

    def __init__(self, variable: str, value: str, reason: str) -> None:
        self.variable, self.value, self.reason = variable, value, reason
        super().__init__(f"{variable}={value!r} is not usable: {reason}")


class TaskNotFound(MoorageError):
    """No task of this owner has this id."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__("no such task")


class InvalidArguments(MoorageError):
    """Arguments that do not fit an actor's signature."""

    def __init__(self, actor: str, reason: str) -> None:
        self.actor, self.reason = actor, reason
        super().__init__(f"arguments for {actor} do not fit: {reason}")


class WorkerKilled(MoorageError):
    """A task's processes died, the last of which ran nothing else. `how` is that one's end in words."""

    def __init__(self, deaths: int, how: str) -> None:
        self.deaths, self.how = deaths, how
        super().__init__(
            f"{deaths} processes died that had it, the last of which ran nothing else ({how}); it is not tried again"
        )


class LeaseLost(MoorageError):
    """Another worker has taken the task over, or it has been finished; nothing of this attempt was kept."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__("the task's lease was lost")


class StagedFileMissing(MoorageError):
    """The bytes of an accepted upload are in neither of the places where they could be."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__("the uploaded bytes are gone from the data volume")


class DiskFull(MoorageError):
    """The data volume has no room for what was asked."""

    def __init__(self) -> None:
        super().__init__("the data volume is full")


class CatalogUnavailable(MoorageError):
    """The catalog's database cannot be reached, or stayed locked past its deadline."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        super().__init__("the catalog cannot be reached")


class RecordsUnavailable(MoorageError):
    """Redis cannot be reached."""

    def __init__(self) -> None:
        super().__init__("the task records cannot be reached")


class StoreError(MoorageError):
    """Root of what a content store can raise."""


class StoreUnavailable(StoreError):
    """The content store cannot do its work at all; the reason is one for the operator."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"the content store cannot be used: {reason}")


class InvalidCID(StoreError):
    """Text or bytes that are not a CID."""

    def __init__(self, text: str, reason: str) -> None:
        self.text, self.reason = text, reason
        super().__init__(f"not a CID: {reason}")


class UnsupportedCID(StoreError):
    """A well-formed CID that cannot be read as asked: its codec, hash function or node type is not supported."""

    def __init__(self, cid: str, reason: str) -> None:
        self.cid, self.reason = cid, reason
        super().__init__(f"{cid} cannot be read: {reason}")


class BlockNotFound(StoreError):
    """The store does not hold a block."""

    def __init__(self, cid: str) -> None:
        self.cid = cid
        super().__init__(f"{cid} is not stored here")


class BlockDamaged(StoreError):
    """The bytes the store holds for a block no longer match its hash. They are never served."""

    def __init__(self, cid: str) -> None:
        self.cid = cid
        super().__init__(f"{cid} is damaged on disk")
