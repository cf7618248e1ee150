"""A server, a ledger and a folder for a fleet: the weather is fine here."""

from __future__ import annotations

from tests.weather.conftest import folder, ledger, server

__all__ = ["folder", "ledger", "server"]
