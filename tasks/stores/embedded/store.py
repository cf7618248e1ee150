"""The embedded content store as the work sees it: async outside, threads within."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tasks.stores import reading, walk
from tasks.stores.cid import CID
from tasks.stores.embedded.adding import Adder
from tasks.stores.embedded.blocks import Blocks
from tasks.stores.embedded.faults import translated
from tasks.stores.embedded.folder import Folder
from tasks.stores.embedded.hashing import LeafHasher
from tasks.stores.embedded.index import Index
from tasks.stores.protocol import AddedFile, FileStat, Profile
from tasks.stores.unixfs import PROFILES, Shape

MAX_READS = 8
"""Reads under way at once in a process; more wait their turn, a piece at a time."""

MAX_ADDITIONS = 64
"""Additions under way at once in a process. They share the hashing threads, so all of them move."""

T = TypeVar("T")


class EmbeddedStore:
    """Files and their index in one folder, used by any number of processes at once.

    Open it after forking. A closed store stays closed. `shapes` lets tests use small chunks.
    """

    def __init__(self, folder: Path, shapes: Mapping[Profile, Shape] = PROFILES) -> None:
        self._folder = Folder(folder)
        self._index = Index(folder / "index.sqlite")
        self._hasher = LeafHasher()
        self._adder = Adder(self._folder, self._index, self._hasher, shapes)
        self._blocks = Blocks(self._folder, self._index)
        self._readers = ThreadPoolExecutor(MAX_READS, thread_name_prefix="store-read")
        self._adders = ThreadPoolExecutor(MAX_ADDITIONS, thread_name_prefix="store-add")

    async def open(self) -> None:
        """Creates what is missing. Raises StoreUnavailable when a newer version has written the index."""

        def prepare() -> None:
            self._folder.prepare()
            self._index.open()

        await self._in_thread(prepare)

    async def close(self) -> None:
        """Waits for what is under way; cancel additions first if that could be long."""

        def finish() -> None:
            for pool in (self._adders, self._readers):
                pool.shutdown(cancel_futures=True)
            self._hasher.close()
            self._index.close()

        await asyncio.to_thread(finish)

    async def check(self) -> None:
        """Raises StoreUnavailable when the folder is gone or the index does not answer."""

        def look() -> None:
            self._folder.check()
            self._index.check()

        await self._in_thread(look)

    async def add_file(self, staged: Path, key: str, profile: Profile, on_progress: Callable[[int], None]) -> AddedFile:
        """See ContentStore. `staged` must be on the store's volume, else StoreUnavailable.

        While a copy that is stored already is compared with this one, `on_progress` gets the full size repeatedly.
        """
        stop = threading.Event()

        def add() -> AddedFile:
            with translated():
                return self._adder.add(staged, key, profile, on_progress, stop)

        work = self._adders.submit(add)
        done = asyncio.wrap_future(work)
        done.add_done_callback(reading.retrieve)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            stop.set()
            if not work.cancel():
                await asyncio.wait([done])  # a few milliseconds: until then the threads are reading the file
            raise

    async def stat(self, cid: CID) -> FileStat:
        """See ContentStore."""
        return FileStat(cid, await self._in_thread(lambda: walk.size_of(cid, self._blocks.load)))

    async def read_block(self, cid: CID) -> bytes:
        """See ContentStore."""
        return await self._in_thread(lambda: bytes(self._blocks.load(cid)))

    def read_file(self, cid: CID, start: int, stop: int) -> AsyncIterator[bytes]:
        """See ContentStore."""
        return reading.stream(walk.pieces(cid, start, stop, self._blocks.load), self._in_thread)

    async def orphans(self) -> list[str]:
        """Keys of files that no addition refers to: left by a crash, or being added right now.

        Only who knows which keys are still to be added can tell which; `discard` removes the others.
        """
        # Listed before asked: a file that is finished in between is not taken for an orphan.
        return await self._in_thread(lambda: list(self._index.unreferenced(list(self._folder.keys()))))

    async def discard(self, key: str) -> bool:
        """Removes the file of `key` if no addition refers to it; whether a file was removed."""
        return await self._in_thread(lambda: self._index.forget(key, self._folder.remove))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def translate() -> T:
            with translated():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._readers, translate)
