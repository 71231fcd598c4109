"""The gateway's FastAPI application: `/api`, `/docs` and the page."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from crossover import VERSION
from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.errors import Code, code_from_http
from crossover.rest_gateway import docs_page
from crossover.rest_gateway.openapi import add_oip
from crossover.rest_gateway.page import routes as page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from crossover.rest_gateway.predictions import Predictions
    from crossover.rest_gateway.settings import GatewaySettings

log = logging.getLogger("crossover.gateway")
SUMMARY = "One model server behind gRPC, REST or nothing: the Open Inference Protocol, and predictions as resources."


def build(settings: GatewaySettings, predictions: Predictions) -> FastAPI:
    """The application, to be served while the `predictions` are running."""
    app = FastAPI(title="Crossover", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(HTTPException, cast("Any", _refused))
    app.add_exception_handler(Exception, _failed)
    predictions.install(app)
    docs_page.install(app)
    page.install(app, settings)
    app.openapi = lambda: _schema(app, settings)  # type: ignore[method-assign]
    return app


def _schema(app: FastAPI, settings: GatewaySettings) -> dict[str, Any]:
    """FastAPI's own paths and the OIP ones."""
    schema = get_openapi(title=app.title, version=app.version, routes=app.routes, summary=SUMMARY)
    add_oip(schema, settings)
    return schema


async def _refused(request: Request, error: HTTPException) -> Response:
    """Paths and methods that nobody serves, in the form of the errors under /v2."""
    texts = {
        404: f"there is nothing at {request.url.path[:200]}; /docs lists what there is",
        405: f"{request.url.path[:200]} does not take {request.method}",
    }
    code = code_from_http(error.status_code)
    return _error(error.status_code, code, texts.get(error.status_code, str(error.detail)), error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    log.error("%s %s failed inside the gateway", request.method, request.url.path, exc_info=error)
    return _error(500, Code.INTERNAL, "the gateway failed inside; its log has the reason")


def _error(status: int, code: Code, text: str, headers: Mapping[str, str] | None = None) -> Response:
    body = dumps({"error": text, "code": code.name})
    return Response(body, status, dict(headers or {}), media_type="application/json")
