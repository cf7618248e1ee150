"""Servers that want a certificate, a password, or a user with few rights."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.weather.certificates import issue
from tests.weather.fleet import Ledger, nothing_left, send, worker
from tests.weather.generic_app import Setup
from tests.weather.servers import HOST, KINDS, Server, free_port

SPEAKS_TLS = KINDS["Redis 7"] or KINDS["Valkey 8"]
"""The wheel's Valkey 9 is built without TLS."""

TASKS = range(50)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.mark.skipif(SPEAKS_TLS is None, reason="no server with TLS is installed here")
@pytest.mark.parametrize("trusts", [True, False])
async def test_a_server_is_spoken_to_through_tls_if_its_certificate_can_be_trusted(
    ledger: Ledger, folder: Path, trusts: bool
) -> None:
    certificates = issue(folder)
    tls_port = free_port()
    server = Server(folder / "server", SPEAKS_TLS, **certificates, tls_port=str(tls_port), tls_auth_clients="no")
    trusted = {"ssl_cert_reqs": ssl.CERT_REQUIRED} | (
        {"ssl_ca_certs": certificates["tls-ca-cert-file"]} if trusts else {}
    )
    conf: dict[str, Any] = {"broker_use_ssl": trusted}
    setup = Setup(broker=f"rediss://{HOST}:{tls_port}/0", ledger=ledger.url, conf=conf)
    with running(server):
        async with worker(setup, folder, ready=trusts) as safe:
            if not trusts:
                await safe.says("certificate verify failed")
                return
            await send(setup, TASKS)
            await send(setup, [99], countdown=0.5)
            await ledger.all_ran([*TASKS, 99])
            await nothing_left(server)


async def test_a_server_with_a_password_is_worked_with(ledger: Ledger, folder: Path) -> None:
    with running(Server(folder / "server", requirepass="s3cr3t/w0rd")) as server:
        setup = Setup(broker=server.url(":s3cr3t%2Fw0rd@"), ledger=ledger.url)
        async with worker(setup, folder) as let_in:
            await send(setup, TASKS)
            await ledger.all_ran(TASKS)
            await nothing_left(server)
        assert "s3cr3t" not in let_in.log()
