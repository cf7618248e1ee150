"""Settings of the HTTP edge and of `moorage up`, read once from `MOORAGE_*` variables by wiring code."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Bytes = Annotated[int, msgspec.Meta(ge=0)]


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the API and the supervisor need to know."""

    host: str = "127.0.0.1"
    """Address the API listens on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    """TCP port the API listens on; 0 takes a free one."""
    max_upload_bytes: Bytes = 0
    """Largest upload accepted; 0 means as much as the disk holds."""
    max_concurrent_uploads: Annotated[int, msgspec.Meta(ge=1)] = 64
    """Uploads one API process receives at a time; the next is told to come back (429)."""
    upload_stall_seconds: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """How long an upload may bring nothing: a client that fell asleep must not hold a place for ever (408)."""
    min_free_bytes: Bytes = 256 * 1024 * 1024
    """Room that must stay free on the data volume: `up` refuses to start and uploads are refused (507) below it."""
    gateway: Literal["private", "public"] = "private"
    """`public` serves `GET /ipfs/…` to anyone; `private` asks for a key with scope `read`."""
    shutdown_seconds: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    """How long a stopping API lets open requests finish."""
