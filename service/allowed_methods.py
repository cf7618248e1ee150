"""Which methods a path knows: the `Allow` header that RFC 9110 (15.5.6) asks of every 405."""

from __future__ import annotations

import re

from litestar import Litestar
from litestar.routes import HTTPRoute

_PARAMETER = re.compile(r"\\\{\w+:(\w+)\\\}")


def allowed_methods(app: Litestar, path: str) -> list[str]:
    """The methods of all routes that fit `path`, sorted."""
    routes = [route for route in app.routes if isinstance(route, HTTPRoute) and _fits(route.path, path)]
    return sorted({str(method) for route in routes for method in route.methods})


def _fits(template: str, path: str) -> bool:
    """Whether `path` is of the form `template`, whose parameters are written `{name:kind}`."""
    pattern = _PARAMETER.sub(lambda found: ".+" if found[1] == "path" else "[^/]+", re.escape(template))
    return re.fullmatch(f"{pattern}/?", path) is not None
