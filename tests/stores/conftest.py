"""Parts the tests of the stores share: files with known content, small profiles, and every store behind one fixture."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from tasks.stores.cid import CID
from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.memory import MemoryStore
from tasks.stores.protocol import ContentStore, Profile
from tasks.stores.unixfs import Shape

SMALL_SHAPES: Mapping[Profile, Shape] = {
    "unixfs-v1-2025": Shape(chunk_size_bytes=16, links_per_node=3, raw_leaves=True, cid_version=1),
    "unixfs-v0-2015": Shape(chunk_size_bytes=8, links_per_node=3, raw_leaves=False, cid_version=0),
}
PIECE_BYTES = 4 << 20

Keystream = Callable[[str, int], Iterator[bytes]]
Stage = Callable[[bytes], Path]


@pytest.fixture(scope="session")
def keystream() -> Keystream:
    """The bytes that IPIP-499's vectors are made of: ChaCha20, key = SHA-256 of the seed, nonce and counter zero."""

    def generate(seed: str, size_bytes: int) -> Iterator[bytes]:
        cipher = Cipher(algorithms.ChaCha20(hashlib.sha256(seed.encode()).digest(), bytes(16)), None).encryptor()
        for start in range(0, size_bytes, PIECE_BYTES):
            yield cipher.update(bytes(min(PIECE_BYTES, size_bytes - start)))

    return generate


@pytest.fixture(scope="session")
def small_shapes() -> Mapping[Profile, Shape]:
    """The profiles with chunks of a few bytes and nodes of three links, so that small files make deep trees."""
    return SMALL_SHAPES


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Puts bytes where an upload would have left them."""
    folder = tmp_path / "staging"
    folder.mkdir()
    numbers = itertools.count()

    def put(data: bytes) -> Path:
        staged = folder / f"upload-{next(numbers)}"
        staged.write_bytes(data)
        return staged

    return put


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """An embedded store with the real profiles, in `tmp_path / "store"`."""
    store = EmbeddedStore(tmp_path / "store")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["embedded", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ContentStore]:
    """Every store, with small profiles."""
    makers: dict[str, Callable[[], ContentStore]] = {
        "embedded": lambda: EmbeddedStore(tmp_path / "store", SMALL_SHAPES),
        "memory": lambda: MemoryStore(SMALL_SHAPES),
    }
    made = makers[request.param]()
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def read() -> Callable[..., Awaitable[bytes]]:
    """Reads a range of a file into one piece; the whole file by default."""

    async def whole(store: ContentStore, cid: CID, start: int = 0, stop: int = 1 << 62) -> bytes:
        return b"".join([piece async for piece in store.read_file(cid, start, stop)])

    return whole
