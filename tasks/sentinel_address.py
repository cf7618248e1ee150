"""The address of a server that Sentinel names: one URL for a person, and the parts that clients need of it.

`sentinel://[user:password@]host:port,host:port,host:port/db?master=NAME`: the hosts are the sentinels, 26379 where no
port is given; user, password and database are the server's own. Sentinels that want credentials themselves get them by
`&sentinel_username=…&sentinel_password=…`. `sentinels://` means TLS with all of them, and takes `ssl_ca_certs`,
`ssl_certfile`, `ssl_keyfile` and `ssl_cert_reqs` as `rediss://` does.
https://valkey.io/topics/sentinel/
"""

from __future__ import annotations

import re
from collections import UserDict
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

SCHEME = "sentinel://"
SECURE_SCHEME = "sentinels://"
SCHEMES = (SCHEME, SECURE_SCHEME)
DEFAULT_PORT = 26_379
SHAPE = "sentinel://host:port,host:port,host:port/0?master=NAME"

_URL = re.compile(
    r"(?P<scheme>sentinels?://)(?:(?P<credentials>[^/?#]*)@)?(?P<hosts>[^/?#@]*)(?:/(?P<db>[^?#]*))?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"[\w.:-]+")
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
_OPTIONS = {"master", "sentinel_username", "sentinel_password"}


class Credentials(msgspec.Struct, frozen=True):
    """Who one is and what proves it; None where that is not asked."""

    username: str | None = None
    password: str | None = None

    def options(self) -> dict[str, Any]:
        """Those that are given, as redis-py calls them."""
        both = {"username": self.username, "password": self.password}
        return {name: value for name, value in both.items() if value}


class SentinelAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask for which server, and how to enter there."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int = 0
    server: Credentials = Credentials()
    sentinel: Credentials = Credentials()
    tls: dict[str, str] | None = None
    """What redis-py must know for TLS; None is without."""

    @classmethod
    def parse(cls, url: str) -> SentinelAddress:
        """Raises ValueError, with a sentence that says no secret, for anything else than an address of this shape."""
        found = _URL.fullmatch(url)
        if found is None:
            raise ValueError(f"it is written {SHAPE}")
        sentinels = tuple(_host_and_port(part) for part in found["hosts"].split(","))
        secure = found["scheme"] == SECURE_SCHEME
        options = _options(found["query"] or "", {*_OPTIONS, *_TLS_OPTIONS} if secure else _OPTIONS)
        if not options.get("master"):
            raise ValueError(f"it lacks the name that the sentinels have for the server; it is written {SHAPE}")
        if found["db"] and not found["db"].isdecimal():
            raise ValueError(f"behind its / comes the number of a database; it is written {SHAPE}")
        username, _, password = (found["credentials"] or "").partition(":")
        return cls(
            sentinels=sentinels,
            master=options["master"],
            database=int(found["db"] or 0),
            server=Credentials(unquote(username) or None, unquote(password) or None),
            sentinel=Credentials(options.get("sentinel_username"), options.get("sentinel_password")),
            tls=_tls(options) if secure else None,
        )

    def server_options(self) -> dict[str, Any]:
        """How redis-py is to connect to the server."""
        return {"db": self.database, **self.server.options(), **self._tls_options()}

    def celery_url(self) -> str:
        """The same as Celery and kombu spell it, a URL for each sentinel. They take the rest as `celery_options`."""
        credentials = ":".join(quote(part or "", safe="") for part in (self.server.username, self.server.password))
        entry = f"{credentials}@" if credentials != ":" else ""
        return ";".join(f"{SCHEME}{entry}{_bracketed(host)}:{port}/{self.database}" for host, port in self.sentinels)

    def celery_options(self, timeout_seconds: float) -> dict[str, Any]:
        """What belongs into the transport options of the broker, or of the result backend."""
        return {"master_name": self.master, "sentinel_kwargs": SentinelOptions(self.sentinel_options(timeout_seconds))}

    def sentinel_options(self, timeout_seconds: float) -> dict[str, Any]:
        """How redis-py is to connect to a sentinel. One that is away is not tried again: there are others to ask."""
        timeouts = {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
        return {**timeouts, "retry": None, **self.sentinel.options(), **self._tls_options()}

    def _tls_options(self) -> dict[str, Any]:
        return {} if self.tls is None else {"ssl": True, **self.tls}


class SentinelOptions(UserDict[str, Any]):
    """Options that `celery inspect stats` and logs may show, for they keep the password to themselves."""

    def __json__(self) -> dict[str, Any]:
        """What kombu puts into JSON."""
        return {name: "***" if name == "password" else value for name, value in self.data.items()}

    def __repr__(self) -> str:
        return repr(self.__json__())


def _options(query: str, known: set[str]) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if options.keys() - known:  # it may be the rest of a password with an unencoded &, so it is not named
        raise ValueError(f"behind its ? may be no more than {', '.join(sorted(known))}")
    return options


def _tls(options: dict[str, str]) -> dict[str, str]:
    given = {name: options[name] for name in _TLS_OPTIONS if options.get(name)}
    return {"ssl_cert_reqs": "required"} | given


def _host_and_port(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not _HOST.fullmatch(host):
        raise ValueError(f"its sentinels are hosts with ports, and commas between them; it is written {SHAPE}")
    return host, DEFAULT_PORT if port is None else port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
