"""The pool's settings, and how its child processes find the application."""

from __future__ import annotations

import sys
import types

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured

from tasks.pool.settings import PoolSettings
from tests.tasks.pool import pool_base


@pytest.fixture
def app() -> Celery:
    """An application that no module has."""
    return Celery("of_no_module", set_as_current=False)


def test_without_settings_there_are_defaults_and_the_module_that_has_the_application(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("shop.work")
    vars(module)["queue_app"] = app
    monkeypatch.setitem(sys.modules, "shop.work", module)

    settings = PoolSettings.read(app)

    assert settings.application == "shop.work:queue_app"
    assert (settings.threads, settings.lone_processes, settings.cancel_seconds) == (8, 4, 10.0)


def test_the_module_that_the_application_is_named_after_is_preferred(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a_user_of_it", app.main, "another"):
        module = types.ModuleType(str(name))
        vars(module)["app"] = app
        monkeypatch.setitem(sys.modules, str(name), module)

    assert PoolSettings.read(app).application == "of_no_module:app"


def test_the_application_may_be_named(app: Celery) -> None:
    app.conf.asyncio_pool_application = "shop.wiring:app"
    assert PoolSettings.read(app).application == "shop.wiring:app"
    assert PoolSettings.read(pool_base.app).application == "tests.tasks.pool.pool_app:app"


def test_an_application_that_no_child_process_could_import_is_refused_with_advice(app: Celery) -> None:
    with pytest.raises(ImproperlyConfigured, match="asyncio_pool_application"):
        PoolSettings.read(app)
