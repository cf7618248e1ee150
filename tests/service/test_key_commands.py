"""`moorage keys`: made, shown and ended on the catalog itself, with or without a server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.bootstrap import prepare
from service.key_commands import keys as keys_command
from tasks.catalog import keys
from tasks.catalog.engine import Catalog
from tasks.settings import TaskSettings


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder that `up` has prepared."""
    folder = tmp_path / "data"
    folder.mkdir()
    asyncio.run(prepare(folder))
    return folder


def moorage_keys(data: Path, *words: str) -> Result:
    return CliRunner().invoke(keys_command, list(words), env={"MOORAGE_DATA": str(data), "MOORAGE_DATABASE_URL": ""})


def found(data: Path, text: str) -> keys.KeyRow | None:
    async def find() -> keys.KeyRow | None:
        catalog = Catalog(TaskSettings(data=data).effective_database_url)
        try:
            async with catalog.read() as connection:
                return await keys.find(connection, keys.hash_key(text))
        finally:
            await catalog.close()

    return asyncio.run(find())


def test_a_key_is_printed_once_and_works(data: Path) -> None:
    made = moorage_keys(data, "create", "--owner", "ann")
    assert made.exit_code == 0, made.output
    row = found(data, made.output.strip())
    assert row is not None
    assert (row.owner, row.scopes) == ("ann", ("upload", "pin", "read"))
    listed = moorage_keys(data, "list")
    assert made.output.strip() not in listed.output
    assert f"{row.id}  valid" in listed.output


def test_a_key_has_the_scopes_it_was_given(data: Path) -> None:
    made = moorage_keys(data, "create", "--owner", "ann", "--scope", "read", "--scope", "admin", "--json")
    report = json.loads(made.output)
    assert (report["owner"], report["scopes"], report["revoked_at"]) == ("ann", ["read", "admin"], None)
    row = found(data, report["key"])
    assert row is not None
    assert row.scopes == ("read", "admin")


def test_a_revoked_key_is_found_no_more_and_is_still_listed(data: Path) -> None:
    report = json.loads(moorage_keys(data, "create", "--owner", "ann", "--json").output)
    assert moorage_keys(data, "revoke", report["id"]).exit_code == 0
    assert found(data, report["key"]) is None
    lines = [json.loads(line) for line in moorage_keys(data, "list", "--json").output.splitlines()]
    [revoked] = [line for line in lines if line["id"] == report["id"]]
    assert revoked["revoked_at"] is not None
    again = moorage_keys(data, "revoke", report["id"])
    assert (again.exit_code, "moorage keys list" in again.output) == (4, True)


@pytest.mark.parametrize("owner", ["", " ", "a\nb", "x" * 256, "a\x1b[31m"])
def test_an_owner_that_fits_no_line_is_refused(data: Path, owner: str) -> None:
    assert moorage_keys(data, "create", "--owner", owner).exit_code == 2


def test_wrong_usage_is_told(data: Path, tmp_path: Path) -> None:
    assert moorage_keys(data, "create").exit_code == 2
    assert moorage_keys(data, "create", "--owner", "ann", "--scope", "everything").exit_code == 2
    nowhere = moorage_keys(tmp_path / "nowhere", "list")
    assert (nowhere.exit_code, "moorage up" in nowhere.output) == (1, True)
    assert not (tmp_path / "nowhere").exists()
