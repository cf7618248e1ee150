"""A master, its replicas and three sentinels that vote, all on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from redis.exceptions import RedisError

from tests.weather.servers import HOST, Server

SENTINELS, REPLICAS = 3, 2
NAME = "harbour"
DOWN_AFTER_MS = 500


class Watched:
    """The group. Sentinel looks at its servers every second, and fails over once two of three miss the master."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self._password = password
        self.servers = [Server(folder / f"server-{number}") for number in range(1 + REPLICAS)]
        for server in self.servers if password else ():
            server.options |= {"requirepass": password, "masterauth": password}
        first = self.servers[0]
        for replica in self.servers[1:]:
            replica.options["replicaof"] = f"{HOST} {first.port}"
        self.sentinels = [self._sentinel(folder / f"sentinel-{number}", first) for number in range(SENTINELS)]

    def url(self) -> str:
        """Its address as kombu spells it."""
        return ";".join(f"sentinel://{HOST}:{sentinel.port}/0" for sentinel in self.sentinels)

    def address(self) -> str:
        """Its address as Moorage spells it."""
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        password = quote(self._password, safe="")
        server, sentinel = (f":{password}@", f"&sentinel_password={password}") if password else ("", "")
        return f"sentinel://{server}{hosts}/0?master={NAME}{sentinel}"

    def start(self) -> None:
        """Starts all of them."""
        for server in (*self.servers, *self.sentinels):
            server.start()

    def remove(self) -> None:
        """Ends all of them."""
        for server in (*self.sentinels, *self.servers):
            server.kill()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Prints what the sentinels did when the block fails."""
        try:
            yield
        except BaseException:
            for sentinel in self.sentinels:
                print(f"The log of the sentinel on {sentinel.port}:", sentinel.log(), sep="\n")
            raise

    def is_complete(self) -> bool:
        """Whether each sentinel knows the other two and both replicas are in step."""
        try:
            for sentinel in self.sentinels:
                with sentinel.client() as client:
                    known = client.sentinel_master(NAME)
                    if (known["num-other-sentinels"], known["num-slaves"]) != (SENTINELS - 1, REPLICAS):
                        return False
            with self.master().client() as client:
                return int(client.info("replication")["connected_slaves"]) == REPLICAS
        except RedisError:
            return False

    def master(self) -> Server:
        """The server that the first sentinel takes for the master now."""
        return self._master_of(self.sentinels[0])

    def have_another_master_than(self, fallen: Server) -> bool:
        """Whether the fail-over is through, for every sentinel."""
        return all(self._master_of(sentinel) is not fallen for sentinel in self.sentinels)

    def _master_of(self, sentinel: Server) -> Server:
        with sentinel.client() as client:
            port = client.sentinel_master(NAME)["port"]
        return next(server for server in self.servers if server.port == port)

    def _sentinel(self, folder: Path, master: Server) -> Server:
        sentinel = Server(folder)
        for name in ("appendonly", "appendfsync", "save", "repl-diskless-sync-delay"):
            del sentinel.options[name]
        sentinel.directives = [
            f"sentinel monitor {NAME} {HOST} {master.port} 2",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 5000",
        ]
        if self._password:
            sentinel.options["requirepass"] = self._password
            sentinel.directives.append(f"sentinel auth-pass {NAME} {self._password}")
        sentinel.arguments = ["--sentinel"]
        return sentinel
