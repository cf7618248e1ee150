"""Uploads while a part is away: nothing is accepted without the catalog, everything without the broker."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial

import msgspec
import pytest

from tasks.catalog.engine import Catalog
from tasks.reconcile import Reconciler
from tasks.settings import TaskSettings
from tasks.sweep import sweep_files
from tests.real_valkey import RealValkey
from tests.service.served import served
from tests.waiting import eventually


def test_while_the_catalog_is_locked_nothing_is_accepted_and_nothing_stays(
    task_settings: TaskSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.parts.Catalog", partial(Catalog, busy_timeout_seconds=0.2))
    with served(task_settings) as edge, edge.client(edge.key("ann")) as ann:
        with closing(sqlite3.connect(task_settings.data / "catalog.sqlite")) as other:
            other.execute("BEGIN EXCLUSIVE")
            answer = ann.put("/api/v1/uploads/a", content=b"x")
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:moorage:problem:catalog-unavailable")
            assert "retry-after" in answer.headers
        assert edge.task_ids() == set()
        edge.run(sweep_files(edge.parts))
        assert edge.staged_names() == []
        assert ann.put("/api/v1/uploads/a", content=b"x").status_code == 202


def test_an_unusable_catalog_accepts_nothing(task_settings: TaskSettings) -> None:
    with served(task_settings) as edge, edge.client(edge.key("ann")) as ann:
        with closing(sqlite3.connect(task_settings.data / "catalog.sqlite")) as other:
            other.execute("ALTER TABLE tasks RENAME TO elsewhere")
            other.execute("ALTER TABLE keys RENAME TO other_keys")
        answer = ann.put("/api/v1/uploads/a", content=b"x")
        assert answer.status_code == 503, answer.text
        assert [name for name in edge.staged_names() if name.endswith(".part")] == []


def test_while_the_broker_is_down_uploads_are_accepted_and_sent_when_it_is_back(
    task_settings: TaskSettings, own_valkey: RealValkey
) -> None:
    settings = msgspec.structs.replace(task_settings, redis_url=own_valkey.url(), resend_after_seconds=0.01)
    with served(settings) as edge, edge.client(edge.key("ann")) as ann:
        own_valkey.kill()
        answer = ann.put("/api/v1/uploads/a", content=b"x")
        assert answer.status_code == 202
        task_id = answer.json()["task_id"]
        assert ann.get(f"/tasks/{task_id}/status").json()["data"]["state"] == "PENDING"
        own_valkey.start()

        async def sent_again() -> bool:
            return await Reconciler(edge.parts).run() == 1

        async def sent_in_time() -> bool:
            return await eventually(sent_again)

        edge.run(sent_in_time())
        assert edge.run(edge.parts.dispatcher.view("upload")).length == 1
        edge.work_off(task_id)
        assert ann.get(f"/tasks/{task_id}/status").json()["data"]["state"] == "SUCCESS"
