"""`/docs`: Swagger UI over `/openapi.json`, every file of it served from here, so that it works with the network off."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi.responses import FileResponse
from starlette.responses import Response

from crossover.protocol.codecs.json.text import dumps
from crossover.rest_gateway.files import PageFiles

if TYPE_CHECKING:
    from fastapi import FastAPI

STATIC = Path(__file__).resolve().parent / "static"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI sets style attributes; everything else comes from files of this host."""


def install(app: FastAPI) -> None:
    """Add `/docs`, `/static`, and `/openapi.json`, which is made once, in a thread, as it takes 0.1 s."""

    @functools.cache
    def text() -> bytes:
        return dumps(app.openapi())

    async def openapi() -> Response:
        return Response(await asyncio.to_thread(text), media_type="application/json")

    async def docs() -> FileResponse:
        return FileResponse(
            STATIC / "docs.html", media_type="text/html", headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        )

    app.add_api_route("/docs", docs, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/openapi.json", openapi, methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", PageFiles(directory=STATIC), name="static")
