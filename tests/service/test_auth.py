"""Keys: what opens a door, what does not, how soon a revoked one is refused, and where a key may never be read."""

from __future__ import annotations

import asyncio
import shutil

import httpx
import pytest

from service.auth import AHEAD_SECONDS, REMEMBER_SECONDS, Doorkeeper
from tasks.catalog import keys
from tasks.catalog.keys import ALL_SCOPES
from tasks.clock import ManualClock
from tasks.errors import CatalogUnavailable
from tasks.parts import Parts
from tasks.settings import TaskSettings
from tests.observability.conftest import LogLines
from tests.service.served import Served, served

WRONG = [
    "nonsense",
    "ipfs_gw_",
    "ipfs_gw_" + "A" * 43,
    "ipfs_gw_" + "A" * 10_000,
    "ipfs_gw_é",
    "' OR 1=1; --",
    "Bearer x",
]


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("urn:moorage:problem:")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_key_opens_nothing(edge: Served, wrong: str) -> None:
    with edge.client() as anyone:
        for headers in ({b"X-API-Key": wrong.encode()}, {b"Authorization": b"Bearer " + wrong.encode()}):
            for method, path in (("GET", "/tasks"), ("PUT", "/api/v1/uploads/a"), ("POST", "/tasks/test/add?x=1&y=1")):
                answer = anyone.request(method, path, headers=headers)
                assert problem(answer) == (401, "unauthenticated"), path
                assert answer.headers["www-authenticate"].startswith("Bearer")


def test_every_route_but_the_probes_and_the_docs_asks_for_a_key(edge: Served) -> None:
    with edge.client() as anyone:
        for path, methods in anyone.get("/docs/openapi.json").json()["paths"].items():
            for method in methods:
                answer = anyone.request(method, path.replace("{", "").replace("}", ""), params={"x": 1, "y": 1})
                is_open = path in ("/livez", "/readyz", "/health", "/metrics")
                assert (answer.status_code == 401) is not is_open, f"{method} {path}: {answer.status_code}"


def test_a_key_is_taken_from_either_header(edge: Served) -> None:
    key = edge.key("ann")
    with edge.client() as anyone:
        for headers in (
            {"X-API-Key": key},
            {"Authorization": f"Bearer {key}"},
            {"Authorization": f"bearer  {key}"},
        ):
            assert anyone.get("/tasks", headers=headers).status_code == 200
        for headers in (
            {"Authorization": key},
            {"Authorization": f"Basic {key}"},
            {"Authorization": "Bearer"},
            {"X-API-Key": f"{key}x"},
            {"X-API-Key": key.upper()},
            {"Cookie": f"key={key}"},
        ):
            assert anyone.get("/tasks", headers=headers).status_code == 401, headers
        assert anyone.get("/tasks", params={"key": key}).status_code == 401


def test_a_scope_opens_its_own_doors_only(edge: Served) -> None:
    absent = "/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
    doors = [
        ("PUT", "/api/v1/uploads/a", "upload"),
        ("POST", "/tasks/test/add?x=1&y=1", "upload"),
        ("GET", absent, "read"),
    ]
    for scope in ALL_SCOPES:
        with edge.client(edge.key("carl", scope)) as carl:
            for method, path, needed in doors:
                answer = carl.request(method, path)
                if needed == scope:
                    assert answer.status_code in (202, 404)
                else:
                    assert problem(answer) == (403, "forbidden")
                    assert f"`{needed}`" in answer.json()["detail"]
            assert carl.get("/tasks").status_code == 200, "any key sees its owner's tasks"


def test_a_refused_upload_is_hung_up_on_instead_of_read(edge: Served) -> None:
    with edge.client("ipfs_gw_wrong") as stranger, edge.client(edge.key("carl", "read")) as reader:
        for client, status in ((stranger, 401), (reader, 403)):
            answer = client.put("/api/v1/uploads/a", content=bytes(1_000_000))
            assert (answer.status_code, answer.headers["connection"]) == (status, "close")
        assert "connection" not in stranger.get("/tasks").headers


async def test_a_revoked_key_is_refused_within_five_seconds(parts: Parts) -> None:
    clock = ManualClock()
    doorkeeper, text = Doorkeeper(parts.catalog, clock), keys.new_key()
    async with parts.catalog.write() as transaction:
        row = await keys.add(transaction, text, "ann", ("read",), clock.now())
    assert await doorkeeper.identify(text)
    async with parts.catalog.write() as transaction:
        assert await keys.revoke(transaction, row.id, clock.now())
    assert await doorkeeper.identify(text), "it is remembered, and the catalog is not asked at every call"
    clock.advance(REMEMBER_SECONDS)
    assert REMEMBER_SECONDS <= 5
    assert await doorkeeper.identify(text) is None


async def test_a_key_in_use_is_looked_up_again_before_it_is_forgotten(parts: Parts) -> None:
    clock = ManualClock()
    doorkeeper, text = Doorkeeper(parts.catalog, clock), keys.new_key()
    async with parts.catalog.write() as transaction:
        await keys.add(transaction, text, "ann", ("read",), clock.now())
    assert await doorkeeper.identify(text)
    clock.advance(REMEMBER_SECONDS - AHEAD_SECONDS)
    await asyncio.gather(*(doorkeeper.identify(text) for _ in range(20)))
    assert len(doorkeeper._looking) == 1, "one look-up for all, and nobody waits for it"
    await asyncio.gather(*doorkeeper._looking.values())
    clock.advance(AHEAD_SECONDS)
    await parts.catalog.close()
    shutil.rmtree(parts.settings.data)
    assert await doorkeeper.identify(text), "it is known from the second look-up"


async def test_what_is_remembered_stays_bounded(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.auth.MOST_REMEMBERED", 10)
    doorkeeper = Doorkeeper(parts.catalog, ManualClock())
    for number in range(25):
        assert await doorkeeper.identify(f"ipfs_gw_{number}") is None
    assert len(doorkeeper._remembered) <= 10


async def test_a_key_that_is_remembered_outlives_the_catalog_for_a_while(parts: Parts) -> None:
    text = keys.new_key()
    async with parts.catalog.write() as transaction:
        await keys.add(transaction, text, "ann", ("read",), 0)
    doorkeeper = Doorkeeper(parts.catalog, ManualClock())
    principal = await doorkeeper.identify(text)
    assert principal is not None
    await parts.catalog.close()
    shutil.rmtree(parts.settings.data)
    assert await doorkeeper.identify(text) == principal
    with pytest.raises(CatalogUnavailable):
        await doorkeeper.identify(keys.new_key())


def test_a_key_is_neither_in_the_catalogs_files_nor_in_the_log(
    log_lines: LogLines, task_settings: TaskSettings
) -> None:
    with served(task_settings) as edge:
        key = edge.key("ann")
        with edge.client() as anyone:
            for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}, {"X-API-Key": key + "x"}):
                anyone.get("/tasks", headers=headers)
                anyone.put("/api/v1/uploads/a", headers=headers, content=b"x")
                anyone.get(f"/ipfs/{key}", headers=headers)
            anyone.get("/tasks", params={"key": key})
        for file in task_settings.data.glob("catalog.sqlite*"):
            assert key.removeprefix("ipfs_gw_").encode() not in file.read_bytes(), file.name
    assert "http.request" in {line["event"] for line in log_lines()}
    assert key.removeprefix("ipfs_gw_") not in str(log_lines())
