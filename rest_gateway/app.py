"""The gateway's application: OIP routes as plain ASGI, and FastAPI for what app developers and people use.

`/v2` and `/v1` never pass FastAPI; `/api`, `/docs` and the page do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from endpoints.metrics import Observer
from endpoints.rest.app import OipRest
from endpoints.rest.types import RestOptions
from protocol.inference import Inference
from protocol.version import VERSION
from rest_gateway import page, predictions
from rest_gateway.openapi import PATHS
from rest_gateway.settings import GatewaySettings
from rest_gateway.upstreams import HEADER, Upstreams

STATIC = Path(__file__).resolve().parent / "static"
DOCS = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Crossover: API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/static/vendor/swagger-ui/swagger-ui.css"></head><body><div id="swagger-ui"></div>
<script src="/static/vendor/swagger-ui/swagger-ui-bundle.js"></script>
<script src="/static/docs.js"></script></body></html>"""


def create_app(settings: GatewaySettings) -> OipRest:
    """The whole gateway as one ASGI application; its lifespan opens and closes the upstreams and the store."""
    upstreams = Upstreams(settings.gateway_upstream, settings.target())
    api = _api(settings, upstreams)
    options = RestOptions(
        max_message_bytes=settings.max_message_bytes,
        default_timeout_ms=settings.default_timeout_ms,
        repository_control=settings.gateway_repository_control,
        uploads=False,
        timing=settings.gateway_timing,
    )
    choose = _by_header(upstreams) if settings.gateway_upstream_header else _default(upstreams)
    return OipRest(choose, settings=options, observer=Observer(), fallback=api)


def _default(upstreams: Upstreams) -> Any:
    return lambda _: upstreams.get()


def _by_header(upstreams: Upstreams) -> Any:
    def choose(headers: Mapping[str, str]) -> tuple[str, Inference]:
        return upstreams.get(headers.get(HEADER))

    return choose


def _api(settings: GatewaySettings, upstreams: Upstreams) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(upstreams.close)
            await stack.enter_async_context(running)
            yield

    app = FastAPI(title="Crossover", version=VERSION, lifespan=lifespan, docs_url=None, redoc_url=None)
    running = predictions.install(app, upstreams, settings)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    page.install(app, settings)
    app.add_api_route("/docs", lambda: HTMLResponse(DOCS), include_in_schema=False)
    app.openapi = lambda: _schema(app)  # type: ignore[method-assign]
    return app


def _schema(app: FastAPI) -> dict[str, Any]:
    """FastAPI's own paths and the OIP ones, made once."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes, summary="gRPC or REST?")
        schema["paths"] = {**PATHS, **schema.get("paths", {})}
        app.openapi_schema = schema
    return app.openapi_schema
