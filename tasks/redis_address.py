"""Every way to a Redis or Valkey server by one address: redis-py's clients, and what Celery is told.

`redis://`, `rediss://` and `unix:///path?db=0` name a server. `sentinel://` and `sentinels://` name those who know
which it is just now; who connects by them follows a fail-over. While one goes on, commands fail as if the server were
away.
"""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import urlsplit

from redis import Redis
from redis import sentinel as blocking
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import sentinel as waiting
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.sentinel_address import SCHEMES, SentinelAddress

MOST_CONNECTIONS = 256


def async_client(url: str, timeout_seconds: float) -> AsyncRedis:
    """A client with short deadlines. One retry without a pause covers a connection that a restart has cut."""
    options = _timeouts(timeout_seconds) | {"retry": AsyncRetry(NoBackoff(), 1), "max_connections": MOST_CONNECTIONS}
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    if not url.startswith(SCHEMES):
        return AsyncRedis.from_url(url, **options)
    address = SentinelAddress.parse(url)
    options |= address.server_options()
    asking: Any = _AsyncSentinels
    sentinels = asking(address.sentinels, sentinel_kwargs=address.sentinel_options(timeout_seconds))
    found: AsyncRedis = sentinels.master_for(address.master, connection_pool_class=_AsyncPool, **options)
    return found


def client(url: str, timeout_seconds: float) -> Redis:
    """A client for a thread, which waits so long for an answer and no longer."""
    options = _timeouts(timeout_seconds)
    if not url.startswith(SCHEMES):
        return Redis.from_url(url, **options)
    address = SentinelAddress.parse(url)
    options |= {"retry": Retry(NoBackoff(), 1), **address.server_options()}
    asking: Any = blocking.Sentinel
    sentinels = asking(address.sentinels, sentinel_kwargs=address.sentinel_options(timeout_seconds))
    found: Redis = sentinels.master_for(address.master, connection_pool_class=_Pool, **options)
    return found


def celery_url(url: str) -> str:
    """The address as Celery and kombu spell it: a unix socket is `redis+socket:///path?virtual_host=0` there."""
    if url.startswith(SCHEMES):
        return SentinelAddress.parse(url).celery_url()
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair).get("db", "0")
    return f"redis+socket://{parts.netloc}{parts.path}?virtual_host={database}"


def celery_options(url: str, timeout_seconds: float) -> dict[str, Any]:
    """What Celery's transport options must hold beside that URL."""
    return SentinelAddress.parse(url).celery_options(timeout_seconds) if url.startswith(SCHEMES) else {}


def celery_tls(url: str) -> dict[str, str] | None:
    """What Celery must be told of TLS because it is not in that URL."""
    return SentinelAddress.parse(url).tls if url.startswith(SCHEMES) else None


def _timeouts(timeout_seconds: float) -> dict[str, Any]:
    return {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}


class _AsyncSentinels(waiting.Sentinel):
    """Sentinels that many coroutines may ask at the same time.

    redis-py moves the sentinel that answered to the front of the list it goes through; two that do so at once would
    drop one of the others for good, so each goes through a list of its own.
    """

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        asking = copy.copy(self)
        asking.sentinels = list(self.sentinels)
        found: tuple[str, int] = await waiting.Sentinel.discover_master(asking, service_name)
        self.sentinels = asking.sentinels
        return found


class _AsyncPool(waiting.SentinelConnectionPool):
    """Connections to the server, which are closed together with those to its sentinels."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


class _Pool(blocking.SentinelConnectionPool):
    """The same for threads."""

    def close(self) -> None:
        super().close()
        self.sentinel_manager.close()
