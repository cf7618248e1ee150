"""Settings of the work, read once from the environment by wiring code. No other module reads the environment.

A settings struct is a frozen `msgspec.Struct`; its field `max_upload_bytes` is the variable `MOORAGE_MAX_UPLOAD_BYTES`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

import msgspec

from tasks.errors import InvalidSetting
from tasks.sentinel_address import SCHEMES as SENTINEL_SCHEMES
from tasks.sentinel_address import SentinelAddress

PREFIX = "MOORAGE_"
ALIASES = {
    "redis_url": ("REDIS_URL",),
    "broker_url": ("CELERY_BROKER_URL",),
    "result_backend_url": ("CELERY_RESULT_BACKEND",),
}
"""Names other than `MOORAGE_…` by which a field may be given, because the field's tools already use them."""

LONGEST_SECONDS = 10 * 365 * 86_400.0
BROKER_SCHEMES = ("redis://", "rediss://", "unix://", *SENTINEL_SCHEMES)
DATABASE_SCHEMES = ("postgresql+asyncpg://", "sqlite+aiosqlite://")
Positive = Annotated[float, msgspec.Meta(gt=0, le=LONGEST_SECONDS)]
"""A duration. Infinity is none: no timer and no expiry can be set to it."""
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]


class TaskSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What workers, beat and everything that sends work need to know."""

    data: Path = Path(".moorage")
    """Folder of staged uploads, the embedded content store and the SQLite catalog."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Live task records, metrics totals and heartbeats; `redis://`, `rediss://`, `unix:///path?db=0`, or
    `sentinel://host:port,host:port/0?master=NAME` for the server that Sentinel names."""
    broker_url: str = ""
    """Celery's broker; empty means `redis_url`."""
    result_backend_url: str = ""
    """Celery's result backend; empty means `redis_url`."""
    database_url: str = ""
    """SQLAlchemy URL of the catalog (`postgresql+asyncpg://…`); empty means SQLite in the data folder."""
    store: Literal["embedded", "memory"] = "embedded"
    lease_seconds: Positive = 15.0
    """How long a worker may hold a task without a sign of life before another may start it."""
    resend_after_seconds: Positive = 5.0
    """How long an accepted task may wait without its message before the reconciler looks for it."""
    record_ttl_seconds: Positive = 86_400.0
    """How long Redis remembers a finished task; the catalog remembers durable ones for ever."""
    shutdown_grace_seconds: Positive = 20.0
    """How long a stopping worker lets running work go on before it hands it back."""
    pool: Literal["asyncio", "prefork", "threads"] = "asyncio"
    """What a worker runs its tasks in: one event loop, or Celery's processes or threads."""
    concurrency: Count = 0
    """Tasks a worker runs at a time; 0 means 100 on the event loop, and one a core otherwise."""
    threads: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 8
    """Plain functions the asyncio pool runs at a time, beside what is on its loop."""
    processes: Count = 0
    """Child processes the asyncio pool has for what asks for one; 0 means one a core."""
    recycle_after_tasks: Count = 0
    """Tasks after which a worker (under prefork, a child) is replaced; 0 means never, and 1,000 for prefork."""
    recycle_above_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Memory above which a worker (under prefork, a child) is replaced; 0 means never."""
    transport: Literal["lossless", "stock"] = "lossless"
    """How workers take messages: without loss, or as kombu does, for proxies and servers that know no RESP3."""
    message_lease_seconds: Positive = 10.0
    """How long the lossless transport leaves a message with a worker that gives no sign of life."""

    def __post_init__(self) -> None:
        """Raises InvalidSetting for what cannot work, or not together."""
        # SQLAlchemy would take another address for a driver without asyncio
        _require(self.database_url, DATABASE_SCHEMES, PREFIX + "DATABASE_URL")
        _require(self.redis_url, BROKER_SCHEMES, "REDIS_URL")
        _require(self.broker_url, BROKER_SCHEMES, "CELERY_BROKER_URL")
        for field in ("redis_url", "broker_url", "result_backend_url"):
            _require_sentinels(getattr(self, field), *ALIASES[field])
        if self.pool == "threads" and (self.recycle_after_tasks or self.recycle_above_bytes):
            raise InvalidSetting(PREFIX + "POOL", self.pool, "threads cannot be recycled; use asyncio or prefork")

    @property
    def staging_folder(self) -> Path:
        """Where uploads wait for their ingest; on the same volume as the store, so that a rename moves them."""
        return self.data / "staging"

    @property
    def store_folder(self) -> Path:
        """Where the embedded content store lives."""
        return self.data / "store"

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or SQLite in the data folder."""
        return self.database_url or f"sqlite+aiosqlite:///{quote(str(self.data.absolute() / 'catalog.sqlite'))}"


def _require(url: str, schemes: tuple[str, ...], variable: str) -> None:
    if url and not url.startswith(schemes):
        raise InvalidSetting(variable, _masked(url), f"it begins with {' or '.join(schemes)}")


def _masked(url: str) -> str:
    return url.partition(":")[0] + "://…"


def _require_sentinels(url: str, variable: str) -> None:
    if url.startswith(SENTINEL_SCHEMES):
        try:
            SentinelAddress.parse(url)
        except ValueError as error:
            raise InvalidSetting(variable, _masked(url), str(error)) from error


S = TypeVar("S", bound=msgspec.Struct)


def read(shape: type[S], environ: Mapping[str, str]) -> S:
    """Builds a settings struct from `environ`. Empty variables count as absent.

    Raises InvalidSetting with the variable's name when a value does not fit its field.
    """
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(shape):
        for variable in (PREFIX + field.name.upper(), *ALIASES.get(field.name, ())):
            if text := environ.get(variable, ""):
                try:
                    values[field.name] = msgspec.convert(text, field.type, strict=False, dec_hook=_decode)
                except (msgspec.ValidationError, ValueError) as error:
                    raise InvalidSetting(variable, text, str(error)) from error
                break
    return shape(**values)


def unknown_variables(environ: Mapping[str, str], shapes: Iterable[type[msgspec.Struct]]) -> list[tuple[str, str]]:
    """`MOORAGE_*` names that no settings struct knows, each with the closest known name or "".

    They are worth a warning, not an error: orchestrators inject variables of their own.
    """
    known = {PREFIX + field.name.upper() for shape in shapes for field in msgspec.structs.fields(shape)}
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    return [(name, next(iter(difflib.get_close_matches(name, known, n=1)), "")) for name in unknown]


def _decode(wanted: type, value: object) -> object:
    return Path(str(value)).expanduser() if wanted is Path else value
