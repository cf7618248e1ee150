"""Hashes the leaves of a file on several cores: SHA-256 and pread both let other threads run.

Memory is one chunk a thread, whatever the file's size and however many files are hashed at once.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

from tasks.stores.unixfs import Shape, leaf_digest

DIGEST_BYTES = 32
STRIPE_BYTES = 4 << 20
"""Work handed to a thread at once, and the step in which progress is told."""

MAX_THREADS = 4


class FileShrank(Exception):
    """A file ended before the size it had when it was opened."""


class _Buffers(threading.local):
    """One buffer a thread: fresh memory for every stripe would cost about as much in page faults as the hashing."""

    buffer = bytearray()


class LeafHasher:
    """Threads shared by all files that are hashed at once."""

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or min(MAX_THREADS, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="store-hash")
        self._local = _Buffers()

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(cancel_futures=True)

    def digests(self, descriptor: int, size_bytes: int, shape: Shape) -> Generator[tuple[int, bytes], None, None]:
        """In order: bytes hashed so far, and the digests of the leaves added since. Raises FileShrank.

        Stop reading it to stop the work; what is under way ends within a stripe, before the generator does.
        """
        stripe_bytes = max(1, STRIPE_BYTES // shape.chunk_size_bytes) * shape.chunk_size_bytes
        starts = iter(range(0, max(1, size_bytes), stripe_bytes))
        ahead: deque[tuple[int, Future[bytes]]] = deque()
        try:
            while True:
                while len(ahead) < 2 * self._threads and (start := next(starts, None)) is not None:
                    stop = min(start + stripe_bytes, size_bytes)
                    ahead.append((stop, self._pool.submit(self._stripe, descriptor, start, stop, shape)))
                if not ahead:
                    return
                stop, stripe = ahead.popleft()
                yield stop, stripe.result()
        finally:
            for _, stripe in ahead:
                if not stripe.cancel():
                    stripe.exception()  # the descriptor must stay open until its readers are done

    def _stripe(self, descriptor: int, start: int, stop: int, shape: Shape) -> bytes:
        digests = []
        for offset in range(start, max(start + 1, stop), shape.chunk_size_bytes):
            view = self._buffer(min(shape.chunk_size_bytes, stop - offset))
            _fill(descriptor, view, offset)
            digests.append(leaf_digest(shape, view))  # while the chunk is in the core's cache
        return b"".join(digests)

    def _buffer(self, size_bytes: int) -> memoryview:
        if len(self._local.buffer) < size_bytes:
            self._local.buffer = bytearray(size_bytes)
        return memoryview(self._local.buffer)[:size_bytes]


def _fill(descriptor: int, view: memoryview, offset: int) -> None:
    filled = 0
    while filled < len(view):
        count = os.preadv(descriptor, [view[filled:]], offset + filled)
        if count == 0:
            raise FileShrank
        filled += count
