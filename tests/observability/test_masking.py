"""Secrets are recognised by the name they go under and by how they look."""

from __future__ import annotations

import pytest

from observability.masking import is_secret, mask_event, mask_text


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "X-API-Key",
        "api_key",
        "MOORAGE_API_KEY",
        "Authorization",
        "lease_token",
        "Set-Cookie",
    ],
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize("name", ["request_id", "key_count", "path", "tokens", "cid", "secretary"])
def test_names_of_other_things_are_left_alone(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("key ipfs_gw_3q-_Zz9 refused", "key ipfs_gw_*** refused"),
        ("redis://:s3cret@cache:6379/0", "redis://***@cache:6379/0"),
        ("postgresql+asyncpg://u:p@db/m and http://x:y@h", "postgresql+asyncpg://***@db/m and http://***@h"),
        ("redis://:p@ss@h1,redis://:q@h2", "redis://***@h1,redis://***@h2"),
        (
            "sentinel://:p@h1,h2:1/0?master=m&sentinel_password=q",
            "sentinel://***@h1,h2:1/0?master=m&sentinel_password=***",
        ),
        ("sentinel://:p@h1:1/0;sentinel://:p@h2:2/0", "sentinel://***@h1:1/0;sentinel://***@h2:2/0"),
        ("redis://:a/b@cache", "redis://***@cache"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("sent Bearer eyJhbGciOi.x-y_z= to it", "sent Bearer *** to it"),
        ("connect(password='a b', host='h')", "connect(password=***, host='h')"),
        ('{"token": "abc", "n": 1}', '{"token": ***, "n": 1}'),
        ("GET /x?api_key=abc&y=1", "GET /x?api_key=***&y=1"),
        ("(b'authorization', b'Bearer xyz')", "(b'authorization', b'Bearer ***')"),
        ("MOORAGE_REDIS_PASSWORD=hunter2 is set", "MOORAGE_REDIS_PASSWORD=*** is set"),
    ],
)
def test_secrets_inside_text_are_masked(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/api/v1/uploads",
        "upload@host is ready, connected to redis://cache:6379/0",
        "the password was wrong",
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
    ],
)
def test_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert mask_text(text) == text


def test_nested_values_are_masked_too() -> None:
    event = {"headers": {"X-Api-Key": "k", "Accept": "*/*"}, "args": ["ipfs_gw_k", 1, None], "password": None}

    assert mask_event(None, "info", event) == {
        "headers": {"X-Api-Key": "***", "Accept": "*/*"},
        "args": ["ipfs_gw_***", 1, None],
        "password": None,
    }


def test_objects_are_masked_as_the_text_they_would_show() -> None:
    class Settings:
        def __str__(self) -> str:
            return "Settings(redis_url='redis://:s@h', api_key='k')"

    assert mask_event(None, "info", {"settings": Settings()}) == {
        "settings": "Settings(redis_url='redis://***@h', api_key=***)"
    }


def test_a_value_that_holds_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)

    assert "[...]" in str(mask_event(None, "info", {"loop": loop}))
