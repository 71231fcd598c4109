"""`/` and the page's files, what it must know of its gateway, and the lab's reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.responses import FileResponse, JSONResponse

from crossover import VERSION
from crossover.protocol.wires import WIRES
from crossover.rest_gateway.files import PageFiles
from crossover.rest_gateway.page import reports
from crossover.rest_gateway.page.headers import HEADERS
from crossover.service.doors.setup import is_loopback

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response
    from starlette.types import Scope

    from crossover.rest_gateway.settings import GatewaySettings

STATIC = Path(__file__).resolve().parent / "static"


class IsolatedFiles(PageFiles):
    """Files under the page's headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI, settings: GatewaySettings) -> None:
    """Add `/`, `/page/...` and `/reports`."""

    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html", headers=HEADERS)

    async def facts() -> JSONResponse:
        return JSONResponse(_facts(settings), headers=HEADERS)

    reading = ["GET", "HEAD"]
    app.add_api_route("/", page, methods=reading, include_in_schema=False)
    app.add_api_route("/page/gateway.json", facts, methods=reading, include_in_schema=False)
    app.mount("/page", IsolatedFiles(directory=STATIC), name="page")
    reports.install(app)


def _facts(settings: GatewaySettings) -> dict[str, Any]:
    """What the page must know of this gateway: its upstreams, and whether a request may choose among them."""
    return {
        "version": VERSION,
        "upstream": settings.gateway_upstream,
        "upstreams": {name: wire.summary for name, wire in WIRES.items()},
        "choosable": settings.gateway_upstream_header,
        "timing": settings.gateway_timing,
        **_facts_for_this_host(settings),
    }


def _facts_for_this_host(settings: GatewaySettings) -> dict[str, Any]:
    """Where only this host gets in, the page may make load by itself, and name the services behind the gateway."""
    if not is_loopback(settings.gateway_host):
        return {"local": False}
    target = settings.target()
    return {"local": True, "targets": {"grpc": target.grpc, "rest": target.rest}}
