from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from tasks.errors import InvalidSetting
from tasks.settings import TaskSettings, read, unknown_variables


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read(TaskSettings, {}) == TaskSettings()
    assert read(TaskSettings, {"MOORAGE_DATA": "", "MOORAGE_LEASE_SECONDS": ""}) == TaskSettings()


def test_every_field_is_read_from_its_variable() -> None:
    found = read(
        TaskSettings,
        {
            "MOORAGE_DATA": "/srv/moorage",
            "MOORAGE_DATABASE_URL": "postgresql+asyncpg://h/d",
            "MOORAGE_STORE": "memory",
            "MOORAGE_LEASE_SECONDS": "2.5",
            "MOORAGE_RESEND_AFTER_SECONDS": "7",
            "SOMETHING_ELSE": "x",
        },
    )
    assert (found.data, found.database_url, found.store) == (Path("/srv/moorage"), "postgresql+asyncpg://h/d", "memory")
    assert (found.lease_seconds, found.resend_after_seconds) == (2.5, 7.0)


def test_the_names_other_tools_use_are_heard_unless_ours_says_otherwise() -> None:
    aliases = {"REDIS_URL": "redis://a", "CELERY_BROKER_URL": "redis://b", "CELERY_RESULT_BACKEND": "redis://c"}
    found = read(TaskSettings, aliases)
    assert (found.redis_url, found.broker_url, found.result_backend_url) == ("redis://a", "redis://b", "redis://c")
    assert read(TaskSettings, aliases | {"MOORAGE_REDIS_URL": "redis://ours"}).redis_url == "redis://ours"
    assert read(TaskSettings, aliases | {"MOORAGE_REDIS_URL": ""}).redis_url == "redis://a"


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "1e999", "5s"])
def test_a_duration_that_is_none_is_refused_by_the_name_of_its_variable(text: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        read(TaskSettings, {"MOORAGE_LEASE_SECONDS": text})
    assert refused.value.variable == "MOORAGE_LEASE_SECONDS"
    assert refused.value.value == text
    assert str(refused.value).startswith(f"MOORAGE_LEASE_SECONDS={text!r} is not usable: ")


def test_an_unknown_store_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"^MOORAGE_STORE='tape' is not usable: "):
        read(TaskSettings, {"MOORAGE_STORE": "tape"})


def test_a_tilde_means_the_home_folder() -> None:
    assert read(TaskSettings, {"MOORAGE_DATA": "~/m"}).data == Path("~/m").expanduser()


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        TaskSettings().lease_seconds = 1.0  # type: ignore[misc]


def test_everything_lives_in_the_data_folder_however_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TaskSettings(data=Path("rel"))
    monkeypatch.chdir(tmp_path)
    assert settings.effective_database_url == f"sqlite+aiosqlite:///{tmp_path}/rel/catalog.sqlite"
    assert settings.staging_folder == Path("rel/staging")
    assert settings.store_folder == Path("rel/store")
    assert TaskSettings(database_url="postgresql+asyncpg://h/d").effective_database_url == "postgresql+asyncpg://h/d"
    assert os.fspath(settings.data) == "rel"


class MoreSettings(msgspec.Struct):
    """Another room's."""

    port: int = 8000


def test_a_misspelt_variable_is_noticed_with_the_one_that_was_meant() -> None:
    environ = {"MOORAGE_LEASE_SECOND": "1", "MOORAGE_PORT": "1", "MOORAGE_ZZZZZZZZ": "1", "HOME": "/"}
    assert unknown_variables(environ, [TaskSettings, MoreSettings]) == [
        ("MOORAGE_LEASE_SECOND", "MOORAGE_LEASE_SECONDS"),
        ("MOORAGE_ZZZZZZZZ", ""),
    ]


@pytest.mark.parametrize("url", ["postgres://h/d", "postgresql://me:secret@h/d", "mysql://h/d", "nonsense"])
def test_a_database_that_cannot_be_used_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(InvalidSetting, match="it begins with postgresql\\+asyncpg:// or sqlite") as caught:
        read(TaskSettings, {"MOORAGE_DATABASE_URL": url})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"REDIS_URL": "amqp://h"}, "REDIS_URL"),
        ({"CELERY_BROKER_URL": "amqp://user:secret@h"}, "CELERY_BROKER_URL"),
        ({"MOORAGE_POOL": "threads", "MOORAGE_RECYCLE_AFTER_TASKS": "5"}, "MOORAGE_POOL"),
        ({"MOORAGE_POOL": "gevent"}, "MOORAGE_POOL"),
        ({"MOORAGE_TRANSPORT": "lossy"}, "MOORAGE_TRANSPORT"),
    ],
)
def test_what_cannot_work_together_is_refused_with_the_name_of_what_to_change(
    variables: dict[str, str], named: str
) -> None:
    with pytest.raises(InvalidSetting, match=named) as refused:
        read(TaskSettings, variables)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("variable", ["REDIS_URL", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"])
def test_an_address_of_sentinels_that_lacks_something_is_refused_without_telling_its_password(variable: str) -> None:
    assert read(TaskSettings, {variable: "sentinel://:secret@a,b,c/0?master=m"})
    with pytest.raises(InvalidSetting, match="lacks the name that the sentinels have for the server") as refused:
        read(TaskSettings, {variable: "sentinel://:secret@a,b,c/0"})
    assert str(refused.value).startswith(f"{variable}='sentinel://…' is not usable: ")
    assert "secret" not in str(refused.value)
