"""Settings of the client's commands, read from `MOORAGE_*` variables; an option wins over its variable."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the client's commands need to know."""

    url: str = "http://127.0.0.1:8000"
    """Address of the Moorage server."""
    api_key: str = ""
    """Key sent with every request; empty: the one in the data folder, where `moorage up` wrote it."""
    data: Path = Path(".moorage")
    """Folder in which the key of a server on this machine is looked for."""

    @property
    def effective_key(self) -> str:
        """`api_key`, or the key file's content. A key found on this machine is only ever sent to this machine."""
        if self.api_key or not _is_this_machine(self.url):
            return self.api_key
        try:
            return (self.data / "api-key").read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
