"""The gateway's application: OIP routes as plain ASGI, and FastAPI for what app developers and people use.

`/v2` and `/v1` never pass FastAPI; `/api`, `/docs` and the page do.
"""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response

from crossover import VERSION
from crossover.endpoints.control_policy import ControlPolicy
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.types import RestOptions
from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.errors import Code, InferenceError, code_from_http
from crossover.rest_gateway import docs_page, page, predictions
from crossover.rest_gateway.observed import Observed
from crossover.rest_gateway.openapi import add_oip
from crossover.rest_gateway.page.documents import Documents
from crossover.rest_gateway.replica_metrics import ReplicaMetrics
from crossover.rest_gateway.upstreams import HEADER, NOT_CHOOSABLE, Upstreams
from crossover.service.doors.setup import controls
from crossover.service.loop_watch import LoopWatch
from crossover.service.metrics import Observer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.requests import Request

    from crossover.endpoints.rest.app import Choose
    from crossover.protocol.inference import Inference
    from crossover.rest_gateway.settings import GatewaySettings
    from crossover.service.tracing import Tracer

log = logging.getLogger("crossover.gateway")
SUMMARY = "One model server behind gRPC, REST or nothing: the Open Inference Protocol, and predictions as resources."


def create_app(
    settings: GatewaySettings, unready_reason: Callable[[], str | None] = lambda: None, tracer: Tracer | None = None
) -> OipRest:
    """The whole gateway as one ASGI application; its lifespan opens and closes the upstreams and the store.

    While there is an `unready_reason()` it is not ready, and answers everything else.
    ValueError or DatabaseError, one sentence, when a setting does not do.
    """
    upstreams = Upstreams(settings.gateway_upstream, settings.target(), unready_reason)
    options = RestOptions(
        max_message_bytes=settings.max_message_bytes,
        default_timeout_ms=settings.default_timeout_ms,
        control=ControlPolicy(
            controls(settings.gateway_repository_control, settings, settings.gateway_host, settings.tls()),
            settings.model_uploads,
            "GATEWAY_REPOSITORY_CONTROL",
        ),
        is_gateway=True,
        timing=settings.gateway_timing,
        tracer=tracer,
    )
    choose = _by_header(upstreams) if settings.gateway_upstream_header else _default(upstreams)
    observer, watch = Observer(upstreams=True), LoopWatch()
    observer.register(watch)
    observer.register(ReplicaMetrics(upstreams.balanced))
    api = Observed(Documents(_api(settings, upstreams, watch, tracer), page.HEADERS), observer, tracer)
    return OipRest(choose, settings=options, observer=observer, fallback=api)


def _default(upstreams: Upstreams) -> Choose:
    def choose(headers: Mapping[str, str]) -> tuple[str, Inference]:
        if HEADER in headers:
            raise InferenceError(Code.PERMISSION_DENIED, NOT_CHOOSABLE)
        return upstreams.get()

    return choose


def _by_header(upstreams: Upstreams) -> Choose:
    def choose(headers: Mapping[str, str]) -> tuple[str, Inference]:
        return upstreams.get(headers.get(HEADER))

    return choose


def _api(settings: GatewaySettings, upstreams: Upstreams, watch: LoopWatch, tracer: Tracer | None) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            anyio.to_thread.current_default_thread_limiter()  # imports what the first file sent would import
            stack.enter_context(watch.running())
            stack.push_async_callback(upstreams.close)
            await stack.enter_async_context(running)
            yield

    app = FastAPI(
        title="Crossover", version=VERSION, lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None
    )
    app.add_exception_handler(HTTPException, cast("Any", _refused))
    app.add_exception_handler(Exception, _failed)
    running = predictions.install(app, upstreams, settings, tracer)
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
