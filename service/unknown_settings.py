"""Notices `MOORAGE_*` variables that nothing reads: most are misspelt, and would be obeyed by nobody in silence."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from observability.logs import LogSettings
from service.client_settings import ClientSettings
from service.settings import ServiceSettings
from tasks.settings import TaskSettings, unknown_variables


class _PartSettings(msgspec.Struct):
    """What `moorage up` tells its parts about themselves."""

    role: str = ""


SHAPES = (TaskSettings, ServiceSettings, LogSettings, ClientSettings, _PartSettings)


def notices(environ: Mapping[str, str]) -> list[str]:
    """One sentence for every variable that no setting has: not errors, for orchestrators set variables of their own."""
    return [
        f"{name} is not a setting of Moorage" + (f"; did you mean {close}?" if close else "")
        for name, close in unknown_variables(environ, SHAPES)
    ]
