"""A real Kubo gives the same CIDs. It is `ipfs` on the path, or what TEST_KUBO names; skipped without."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.stores.embedded.store import EmbeddedStore
from tasks.stores.protocol import Profile

Kubo = Callable[[Path, Profile], str]

# Every parameter is stated: Kubo's own configuration would decide on what is left out.
PARAMETERS: dict[Profile, list[str]] = {
    "unixfs-v1-2025": ["--cid-version=1", "--raw-leaves=true", "--chunker=size-1048576", "--max-file-links=1024"],
    "unixfs-v0-2015": ["--cid-version=0", "--raw-leaves=false", "--chunker=size-262144", "--max-file-links=174"],
}
SIZES_BYTES = [0, 1, 255, 300_000, 5_000_001, 50_000_000]


@pytest.fixture
def kubo(tmp_path: Path) -> Kubo:
    """Asks Kubo for a file's CID, offline, without storing it."""
    command = os.environ.get("TEST_KUBO") or shutil.which("ipfs")
    if not command:
        pytest.skip("no Kubo: put ipfs on the path or name it in TEST_KUBO")
    environment = {**os.environ, "IPFS_PATH": str(tmp_path / "kubo")}
    subprocess.run([command, "init", "--empty-repo"], env=environment, check=True, capture_output=True)

    def root_of(path: Path, profile: Profile) -> str:
        arguments = [command, "add", "--only-hash", "--quieter", "--offline", *PARAMETERS[profile], str(path)]
        done = subprocess.run(arguments, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return root_of


@pytest.mark.parametrize("profile", list(PARAMETERS))
async def test_random_files_get_the_cids_that_kubo_gives(
    embedded: EmbeddedStore, kubo: Kubo, tmp_path: Path, profile: Profile
) -> None:
    for number, size in enumerate(SIZES_BYTES):
        staged = tmp_path / "staged"
        staged.write_bytes(random.randbytes(size))
        expected = kubo(staged, profile)
        added = await embedded.add_file(staged, f"key-{number}", profile, lambda hashed_bytes: None)
        assert str(added.cid) == expected, f"{size} bytes"
