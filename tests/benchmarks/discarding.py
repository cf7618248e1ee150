"""A server of the same make as the API that receives a body and throws it away: what an upload costs without a disk.

Also answers `GET /empty` with a small JSON object: what a request costs that asks nothing of anything.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import uvicorn
from litestar import Litestar, Request, get, put

from service.receiving import body_pieces


class Small(msgspec.Struct):
    """As little as a JSON answer can hold."""

    status: str = "ok"


@get("/empty")
async def empty() -> Small:
    """Nothing, as JSON."""
    return Small()


@put("/{name:str}", request_max_body_size=None, status_code=202)
async def discard(request: Request[Any, Any, Any], name: str) -> dict[str, int]:
    """Reads the body to its end."""
    size_bytes = 0
    async for piece in body_pieces(request):
        size_bytes += len(piece)
    return {"size_bytes": size_bytes}


app = Litestar([empty, discard], logging_config=None, openapi_config=None)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error", access_log=False)
