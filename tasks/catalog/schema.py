"""The catalog's tables. Times are seconds since the Unix epoch; ids are UUID text; JSON columns hold plain values.

A change here comes with a migration in `migrations/versions`; a test holds the two against each other.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("actor", String(255), nullable=False),
    Column("queue", String(255), nullable=False),
    Column("arguments", JSON, nullable=False),
    Column("context", JSON, nullable=False),  # request and trace ids that travel with every message of this task
    Column("state", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),  # failures so far that led to a retry
    Column("starts", Integer, nullable=False),  # deliveries that began to run
    Column("losses", Integer, nullable=False),  # starts whose worker died
    Column("lease_token", String(36)),
    Column("lease_expires_at", Double),
    Column("due_at", Double, nullable=False),  # not to be started, so not to be missed, before then
    Column("dispatches", Integer, nullable=False),
    Column("dispatched_at", Double),  # NULL: no message was sent since it last became ready
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Index("ix_tasks_state_due_at", "state", "due_at"),
    Index("ix_tasks_owner_created_at", "owner", "created_at", "id"),
    Index("ix_tasks_lease_token", "lease_token"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("task_id", String(36), ForeignKey("tasks.id"), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("filename", String(1024), nullable=False),
    Column("content_type", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("profile", String(32), nullable=False),
    Column("cid", String(255)),  # set in the commit that records the ingest's SUCCESS
    Column("created_at", Double, nullable=False),
    Index("ix_uploads_owner_cid", "owner", "cid"),
)

keys = Table(
    "keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("key_hash", LargeBinary(32), nullable=False, unique=True),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)
