"""The import profiles give the CIDs that IPIP-499 publishes and that Kubo gives, at every boundary of their shape.

Published: Kubo's `test/cli/cid_profiles_test.go`. Boundaries for which nothing is published are as Kubo 0.40.1 gave
them for the same bytes, with every parameter of the profile stated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.layout import FileDag, Inner
from tasks.stores.protocol import Profile
from tasks.stores.unixfs import PROFILES, Shape, leaf_digest

Keystream = Callable[[str, int], Iterator[bytes]]

MIB, KIB = 1 << 20, 1 << 10
GIB_FULL, LEGACY_FULL = 1024 * MIB, 174 * 256 * KIB


class Vector(NamedTuple):
    profile: Profile
    seed: str
    size_bytes: int
    cid: str


def v1(seed: str, size_bytes: int, cid: str) -> Vector:
    return Vector("unixfs-v1-2025", seed, size_bytes, cid)


def v0(seed: str, size_bytes: int, cid: str) -> Vector:
    return Vector("unixfs-v0-2015", seed, size_bytes, cid)


PUBLISHED = [
    v1("hello world", 11, "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    v1("chunk-v1-seed", MIB, "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta"),
    v1("chunk-v1-seed", MIB + 1, "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"),
    v1("v1-2025-seed", GIB_FULL, "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm"),
    v1("v1-2025-seed", GIB_FULL + 1, "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe"),
    v0("hello world", 11, "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"),
    v0("chunk-v0-seed", 256 * KIB, "QmWmRj3dFDZdb6ABvbmKhEL6TmPbAfBZ1t5BxsEyJrcZhE"),
    v0("chunk-v0-seed", 256 * KIB + 1, "QmYyLxtzZyW22zpoVAtKANLRHpDjZtNeDjQdJrcQNWoRkJ"),
    v0("v0-seed", LEGACY_FULL, "QmUbBALi174SnogsUzLpYbD4xPiBSFANF4iztWCsHbMKh2"),
    v0("v0-seed", LEGACY_FULL + 1, "QmV81WL765sC8DXsRhE5fJv2rwhS4icHRaf3J9Zk5FdRnW"),
]
FROM_KUBO = [
    v1("chunk-v1-seed", 0, "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    v1("chunk-v1-seed", 1, "bafkreiguwdakjkgmnqsxv3ju2fwttxj4fu2tt3lh7vf23vak54lmcwixcu"),
    v1("chunk-v1-seed", MIB - 1, "bafkreibgwcmlugw6ym57br6t3njybgjbmnmc4oc5btsmez64r5vw2u52t4"),
    v1("v1-2025-seed", GIB_FULL - 1, "bafybeihlp5nwq25qyar5tk25urh2zsgrdl2yqkaiyzk2f3ywct44cwgtum"),
    v0("chunk-v0-seed", 0, "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"),
    v0("chunk-v0-seed", 1, "QmSFBRVyb5FiGXRSHgGXVgAc8fR7SePnxeAo4Wg3DGPmMr"),
    v0("chunk-v0-seed", 256 * KIB - 1, "QmbqKy3WpqBktrcVCeooaBbai55arvZ7TjYk2sMKrgjVqY"),
    v0("v0-seed", LEGACY_FULL - 1, "QmVqpuqz2KG6BLs6uYYsxN8GKBfsPawzj3ctVqEm59P1z8"),
]
VECTORS = PUBLISHED + FROM_KUBO


def name_of(vector: Vector) -> str:
    return f"{vector.profile}-{vector.seed.replace(' ', '-')}-{vector.size_bytes}"


def content(vector: Vector, keystream: Keystream) -> Iterable[bytes]:
    return [b"hello world"] if vector.seed == "hello world" else keystream(vector.seed, vector.size_bytes)


@pytest.mark.parametrize("vector", VECTORS, ids=name_of)
async def test_an_added_file_gets_the_cid_that_its_profile_fixes(
    vector: Vector, keystream: Keystream, embedded: EmbeddedStore, tmp_path: Path
) -> None:
    staged = tmp_path / "staged"
    with staged.open("wb") as file:
        file.writelines(content(vector, keystream))
    try:
        added = await embedded.add_file(staged, "key", vector.profile, lambda hashed_bytes: None)
        assert str(added.cid) == vector.cid
        assert added.size_bytes == vector.size_bytes == (await embedded.stat(added.cid)).size_bytes
    finally:
        embedded_file = next((tmp_path / "store" / "files").glob("*/key"))
        embedded_file.unlink()  # pytest keeps the folders of several runs: too much for GiB files


def inner_nodes_at(small_shapes: Mapping[Profile, Shape], leaves: int) -> list[int]:
    """Which of the parts of a file of so many leaves, three a node, are inner nodes."""
    shape = small_shapes["unixfs-v1-2025"]
    parts = FileDag(shape, leaves * shape.chunk_size_bytes).parts(bytes(32) for _ in range(leaves))
    return [at for at, part in enumerate(parts) if isinstance(part, Inner)]


def test_inner_nodes_come_out_as_they_fill(small_shapes: Mapping[Profile, Shape]) -> None:
    assert inner_nodes_at(small_shapes, 9) == [3, 7, 11, 12]


@pytest.mark.parametrize(("leaves", "inner"), [(1, 0), (2, 1), (3, 1), (4, 3), (9, 4), (10, 7), (27, 13), (28, 17)])
def test_a_tree_has_the_levels_it_needs_and_no_more(
    small_shapes: Mapping[Profile, Shape], leaves: int, inner: int
) -> None:
    assert len(inner_nodes_at(small_shapes, leaves)) == inner


def test_the_empty_legacy_file_has_no_data_field() -> None:
    digest = leaf_digest(PROFILES["unixfs-v0-2015"], b"")
    assert digest == hashlib.sha256(bytes.fromhex("0a0408021800")).digest()
