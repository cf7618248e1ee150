"""Sentinels and a server that are spoken to through TLS only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.app.backends import by_url
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as NotConnected

from tasks.app import app, configure
from tasks.redis_address import async_client, client
from tasks.settings import TaskSettings
from tests.waiting import eventually
from tests.weather.certificates import issue
from tests.weather.sentinels import NAME
from tests.weather.servers import HOST, KINDS, Server, free_port

SPEAKS_TLS = KINDS["Redis 7"] or KINDS["Valkey 8"]
"""The wheel's Valkey 9 is built without TLS."""

pytestmark = pytest.mark.skipif(SPEAKS_TLS is None, reason="no server with TLS is installed here")


def secured(folder: Path, certificates: dict[str, str]) -> Server:
    ports = {"tls-port": str(free_port()), "tls-replication": "yes", "tls-auth-clients": "no"}
    return Server(folder, SPEAKS_TLS, **certificates, **ports)


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """Of a sentinel and its server, both with certificates of an authority that only `ca.pem` tells of."""
    certificates = issue(folder)
    server, sentinel = secured(folder / "server", certificates), secured(folder / "sentinel", certificates)
    for name in ("appendonly", "appendfsync", "save", "repl-diskless-sync-delay"):
        del sentinel.options[name]
    sentinel.directives = [f"sentinel monitor {NAME} {HOST} {server.options['tls-port']} 1"]
    sentinel.arguments = ["--sentinel"]
    server.start()
    sentinel.start()
    yield f"sentinels://{HOST}:{sentinel.options['tls-port']}/0?master={NAME}"
    sentinel.kill()
    server.kill()


@pytest.fixture
def trusted(address: str, folder: Path) -> str:
    return f"{address}&ssl_ca_certs={folder / 'ca.pem'}"


async def test_every_client_speaks_tls_with_sentinels_and_server(trusted: str) -> None:
    opened, blocking = async_client(trusted, 2.0), client(trusted, 2.0)
    await eventually(lambda: answers(blocking))
    assert await opened.set("k", "v")
    assert await asyncio.to_thread(blocking.get, "k") == b"v"
    blocking.close()
    await opened.aclose()


async def test_celery_speaks_tls_with_them_too(trusted: str) -> None:
    configure(TaskSettings(redis_url=trusted))
    await eventually(lambda: answers(client(trusted, 2.0)))
    await asyncio.to_thread(publish_and_store)
    opened = async_client(trusted, 2.0)
    assert await opened.llen("upkeep") == 1
    await opened.aclose()


async def test_nobody_goes_on_with_a_certificate_that_cannot_be_trusted(address: str) -> None:
    opened = async_client(address, 2.0)
    with pytest.raises(NotConnected, match="No master found"):
        await opened.ping()
    await opened.aclose()
    configure(TaskSettings(redis_url=address))
    with app.connection_for_write() as connection, pytest.raises(OperationalError, match="No master found"):
        await asyncio.to_thread(connection.ensure_connection, max_retries=1, interval_start=0)


def answers(blocking: Any) -> bool:
    """Whether the sentinel knows the server by now."""
    try:
        return bool(blocking.ping())
    except NotConnected:
        return False


def publish_and_store() -> None:
    with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
        app.send_task("add", producer=producer, queue="upkeep")
    found: Any = by_url(app.conf.result_backend, app.loader)
    kind, url = found
    backend = kind(app=app, url=url)
    backend.store_result("t", 8, "SUCCESS")
    assert backend.get_task_meta("t")["result"] == 8
    backend.client.close()
