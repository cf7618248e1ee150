"""How long the embedded store takes over a file, beside one SHA-256 pass over it, in one run: `--size-mib 1024`.

Prints a table of ratios: times depend on the machine and on who else uses it, their ratios much less. The file lies in
the page cache for everybody. "peak +MiB" is how much the step raised the process's largest size so far.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.protocol import AddedFile, Profile
from tasks.stores.unixfs import PROFILES

MIB = 1 << 20
SMALLEST_CHUNK_BYTES = min(shape.chunk_size_bytes for shape in PROFILES.values())


def main() -> None:
    """Reads the command line and measures in a folder that is gone afterwards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; the system's own by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        asyncio.run(measure(Path(folder), arguments.size_mib))


async def measure(folder: Path, size_mib: int) -> None:
    """Prints the table."""
    store = EmbeddedStore(folder / "store")
    await store.open()
    print(f"{size_mib} MiB{'seconds':>34}{'x sha256':>10}{'peak +MiB':>11}")
    for profile in PROFILES:
        await measure_profile(store, folder / "staged", size_mib, profile)
    await store.close()


async def measure_profile(store: EmbeddedStore, staged: Path, size_mib: int, profile: Profile) -> None:
    """Adds a new file, adds it again under another key, and reads it."""
    seed = os.urandom(SMALLEST_CHUNK_BYTES - 8)
    write(staged, size_mib, seed)
    unit_seconds = min([await timed("sha256, one pass", 0, lambda: hash_once(staged)) for _ in range(2)])

    async def add(key: str) -> AddedFile:
        return await store.add_file(staged, key, profile, lambda hashed_bytes: None)

    await timed(f"add, {profile}", unit_seconds, lambda: add(profile))
    write(staged, size_mib, seed)
    await timed(f"add again, {profile}", unit_seconds, lambda: add(f"{profile}-again"))
    added = await add(profile)
    await timed(f"read, {profile}", unit_seconds, lambda: drain(store, added))


async def timed(name: str, unit_seconds: float, work: Callable[[], Awaitable[object]]) -> float:
    """Runs `work`, prints its row and returns its seconds."""
    peak_before, start = peak_mib(), time.perf_counter()
    await work()
    seconds = time.perf_counter() - start
    print(f"{name:32}{seconds:10.3f}{seconds / (unit_seconds or seconds):10.2f}{peak_mib() - peak_before:11.1f}")
    return seconds


def write(path: Path, size_mib: int, seed: bytes) -> None:
    """A file no two chunks of which are alike."""
    with path.open("wb") as file:
        for number in range(size_mib * MIB // SMALLEST_CHUNK_BYTES):
            file.write(number.to_bytes(8, "big") + seed)
        os.fsync(file.fileno())


async def hash_once(path: Path) -> None:
    """What the store is measured against: it has the machine to itself, so it need not leave the event loop."""
    digest, buffer = hashlib.sha256(), bytearray(MIB)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])


async def drain(store: EmbeddedStore, added: AddedFile) -> None:
    """Reads the whole file as a client would get it."""
    async for _ in store.read_file(added.cid, 0, added.size_bytes):
        pass


def peak_mib() -> float:
    """The largest this process has been."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
