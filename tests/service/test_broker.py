from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from service.broker import LONGEST_SOCKET_PATH_BYTES, BrokerUnavailable, EmbeddedBroker, embedded_broker, socket_url
from service.children import Child
from service.log_stream import LogStream
from service.supervisor import Supervisor
from tasks.clock import SystemClock
from tests.service.child_programs import CapturedLog, wait_until_gone

Environment = Callable[[], dict[str, str]]


@pytest.fixture
def broker(data: Path, runtime: Environment) -> EmbeddedBroker:
    return embedded_broker(data / "with a space", runtime())


def child_of(broker: EmbeddedBroker) -> Child:
    return Child(
        name="broker",
        argv=broker.argv(),
        env=dict(os.environ),
        stop_order=0,
        stop_seconds=5.0,
        before_start=broker.make_way,
        is_ready=broker.is_ready,
    )


@asynccontextmanager
async def running(broker: EmbeddedBroker, captured: CapturedLog) -> AsyncIterator[Redis]:
    """Keeps the broker alive meanwhile, and gives a client of it."""
    supervisor = Supervisor(LogStream(captured, "console", ["broker"], SystemClock()), SystemClock())
    up = asyncio.Event()

    async def startup() -> None:
        supervisor.keep(child_of(broker))
        await supervisor.ready("broker")
        up.set()

    run = asyncio.create_task(supervisor.run(startup()))
    try:
        async with asyncio.timeout(20):
            await up.wait()
        async with Redis.from_url(broker.url) as client:
            yield client
    finally:
        supervisor.stop()
        await run


async def ready(broker: EmbeddedBroker) -> None:
    async with asyncio.timeout(20):
        while not await broker.is_ready():
            await asyncio.sleep(0)


async def process_id(client: Redis) -> int:
    return int((await client.info("server"))["process_id"])


async def test_what_the_broker_holds_outlives_a_restart(broker: EmbeddedBroker, captured: CapturedLog) -> None:
    async with running(broker, captured) as client:
        await client.set("key", "kept")
    async with running(broker, captured) as client:
        assert await client.get("key") == b"kept"


async def test_it_listens_on_no_port_and_lets_only_its_owner_in(broker: EmbeddedBroker, captured: CapturedLog) -> None:
    async with running(broker, captured) as client:
        assert (await client.config_get("port"))["port"] == "0"
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"
        assert broker.socket.parent.stat().st_mode & 0o777 == 0o700
        assert broker.socket.stat().st_mode & 0o777 == 0o600


async def test_killed_and_its_folder_removed_it_comes_back_empty(broker: EmbeddedBroker, captured: CapturedLog) -> None:
    async with running(broker, captured) as client:
        await client.set("key", "lost")
        pid = await process_id(client)
        shutil.rmtree(broker.folder)
        os.kill(pid, signal.SIGKILL)
        await captured.saw("broker died (killed by SIGKILL); restarting in 0.2 s")
        await ready(broker)
        assert await client.get("key") is None
        await client.set("key", "written again")
        assert (broker.folder / "appendonlydir").is_dir()


async def test_a_broker_left_behind_by_a_killed_supervisor_is_taken_over(
    broker: EmbeddedBroker, captured: CapturedLog
) -> None:
    await broker.make_way(0)
    orphan = await asyncio.create_subprocess_exec(*broker.argv(), stdout=asyncio.subprocess.DEVNULL)
    await ready(broker)
    async with Redis.from_url(broker.url) as client:
        await client.set("key", "written by the orphan's clients")
    async with running(broker, captured) as client:
        assert await orphan.wait() == 0
        assert await process_id(client) != orphan.pid
        assert await client.get("key") == b"written by the orphan's clients"
        pid = await process_id(client)
    wait_until_gone(pid)


async def test_a_file_too_damaged_to_be_read_is_set_aside(broker: EmbeddedBroker, captured: CapturedLog) -> None:
    async with running(broker, captured) as client:
        await client.set("key", "lost")
    for file in (broker.folder / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"*3\r\n$3\r\nSET\r\nthis is no length\r\n" * 3)
    async with running(broker, captured) as client:
        assert await client.get("key") is None
        [aside] = broker.folder.glob("damaged-*")
        await captured.saw(f"the broker's file seems damaged: it is set aside in {aside}")
        assert captured.text.count("broker died") == 3


def test_a_deep_data_folder_still_has_a_socket_path_that_fits(tmp_path: Path, runtime: Environment) -> None:
    deep = tmp_path / "/".join(["quite-a-long-folder-name"] * 20)
    environ = runtime()
    socket = embedded_broker(deep, environ).socket
    assert len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH_BYTES
    assert socket_url(deep, environ) == socket_url(deep / "." / "x" / "..", environ)
    assert socket_url(deep, environ) != socket_url(tmp_path, environ)


def test_a_runtime_folder_that_is_too_deep_or_missing_is_passed_over(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    for folder in (deep, tmp_path / "missing"):
        socket = embedded_broker(tmp_path, {"XDG_RUNTIME_DIR": str(folder)}).socket
        assert folder not in socket.parents
        assert len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH_BYTES


async def test_a_socket_folder_that_others_could_enter_is_refused(broker: EmbeddedBroker) -> None:
    broker.socket.parent.mkdir(mode=0o755)
    with pytest.raises(BrokerUnavailable, match="a folder that only you can enter"):
        await broker.make_way(0)
    broker.socket.parent.rmdir()
    elsewhere = broker.folder.parent
    elsewhere.mkdir(parents=True, exist_ok=True, mode=0o700)
    broker.socket.parent.symlink_to(elsewhere)
    with pytest.raises(BrokerUnavailable):
        await broker.make_way(0)
