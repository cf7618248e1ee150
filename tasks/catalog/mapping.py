"""From a row as SQLAlchemy gives it to a struct."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from sqlalchemy import RowMapping

S = TypeVar("S", bound=msgspec.Struct)


def as_struct(found: RowMapping, shape: type[S]) -> S:
    """The row as `shape`, whose fields are named like the columns. Raises msgspec.ValidationError."""
    return msgspec.convert({str(name): value for name, value in found.items()}, shape)  # names are of a subclass of str
