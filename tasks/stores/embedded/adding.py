"""Takes a staged file over. Every step can be repeated, and starts from what the disk and the index say is done:

staged ──rename──▶ in the folder ──hash──▶ compared with its like ──▶ registered ──▶ blocks and addition recorded
                                                    └─ equal to one that is stored ─▶ recorded on that, own copy removed
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from tasks.errors import StagedFileMissing
from tasks.stores.embedded import sameness
from tasks.stores.embedded.folder import Folder
from tasks.stores.embedded.hashing import DIGEST_BYTES, FileShrank, LeafHasher
from tasks.stores.embedded.index import Addition, Holder, Index, Likeness
from tasks.stores.layout import FileDag
from tasks.stores.protocol import AddedFile, Profile
from tasks.stores.unixfs import Shape

ROWS_A_TRANSACTION = 8192
"""Keeps other writers waiting for less than about 100 ms; files up to 8 GiB (2 GiB legacy) take one transaction."""

_DIGESTS_IN_MEMORY_BYTES = 4 << 20


class Adder:
    """Adds files to a folder and its index."""

    def __init__(self, folder: Folder, index: Index, hasher: LeafHasher, shapes: Mapping[Profile, Shape]) -> None:
        self._folder = folder
        self._index = index
        self._hasher = hasher
        self._shapes = shapes

    def add(
        self, staged: Path, key: str, profile: Profile, on_progress: Callable[[int], None], stop: threading.Event
    ) -> AddedFile:
        """As the Protocol's `add_file`, blocking. Raises CancelledError soon after `stop` is set."""
        if known := self._index.addition(key):
            staged.unlink(missing_ok=True)
            self._index.forget(key, self._folder.remove)
            return known
        try:
            file = self._folder.take(staged, key)
        except FileNotFoundError:
            # Somebody else may have finished this very addition since we looked.
            if known := self._index.addition(key):
                return known
            self._folder.check()
            raise StagedFileMissing(key) from None
        with file:
            try:
                return self._finish(_Job(key, profile, self._shapes[profile], file.fileno(), on_progress, stop))
            except FileShrank:
                raise StagedFileMissing(key) from None

    def _finish(self, job: _Job) -> AddedFile:
        like = sameness.likeness(job.descriptor)
        with tempfile.SpooledTemporaryFile(_DIGESTS_IN_MEMORY_BYTES, dir=str(self._folder.root)) as digests:
            self._hash(job, like.size_bytes, digests)
            holder = self._settle(job, like)
            added = self._record(job, like.size_bytes, holder, digests)
        if holder.key != job.key:
            self._index.forget(job.key, self._folder.remove)
        return added

    def _hash(self, job: _Job, size_bytes: int, digests: IO[bytes]) -> None:
        with closing(self._hasher.digests(job.descriptor, size_bytes, job.shape)) as stripes:
            for hashed_bytes, stripe in stripes:
                job.check()
                digests.write(stripe)
                job.on_progress(hashed_bytes)

    def _settle(self, job: _Job, like: Likeness) -> Holder:
        """The file that is to hold these bytes: an equal one that is stored and healthy, else our own."""

        def sign_of_life() -> None:
            job.check()
            job.on_progress(like.size_bytes)

        unlike: frozenset[int] = frozenset()
        while isinstance(rivals := self._index.register(job.key, like, unlike), list):
            for rival in rivals:
                if self._holds_same(rival, job.descriptor, sign_of_life):
                    return rival
            unlike |= {rival.file_id for rival in rivals}
        return rivals

    def _holds_same(self, rival: Holder, descriptor: int, on_piece: Callable[[], None]) -> bool:
        try:
            file = self._folder.open(rival.key)
        except FileNotFoundError:
            return False
        with file:
            return sameness.same_bytes(file.fileno(), descriptor, on_piece)

    def _record(self, job: _Job, size_bytes: int, holder: Holder, digests: IO[bytes]) -> AddedFile:
        dag = FileDag(job.shape, size_bytes)
        digests.seek(0)
        parts = dag.parts(iter(lambda: digests.read(DIGEST_BYTES), b""))
        while len(batch := list(islice(parts, ROWS_A_TRANSACTION))) == ROWS_A_TRANSACTION:
            job.check()
            self._index.record(holder, batch)
        self._index.record(holder, batch, Addition(job.key, dag.root, size_bytes, job.profile))
        return AddedFile(dag.root, size_bytes)


class _Job(NamedTuple):
    """One call's constants."""

    key: str
    profile: Profile
    shape: Shape
    descriptor: int
    on_progress: Callable[[int], None]
    stop: threading.Event

    def check(self) -> None:
        if self.stop.is_set():
            raise CancelledError
