"""The gateway's application: OIP routes as plain ASGI, and FastAPI for what app developers and people use.

`/v2` and `/v1` never pass FastAPI; `/api`, `/docs` and the page do, so FastAPI is imported by the first request for these: it
takes more of a start than everything else, and 16 MB, of which a gateway that only passes inference on needs nothing.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from crossover.endpoints.control_policy import ControlPolicy
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.types import RestOptions
from crossover.protocol.errors import Code, InferenceError
from crossover.rest_gateway import predictions
from crossover.rest_gateway.lazy_app import LazyApp
from crossover.rest_gateway.observed import Observed
from crossover.rest_gateway.page.documents import Documents
from crossover.rest_gateway.page.headers import HEADERS
from crossover.rest_gateway.replica_metrics import ReplicaMetrics
from crossover.rest_gateway.upstreams import HEADER, NOT_CHOOSABLE, Upstreams
from crossover.service.doors.setup import controls
from crossover.service.loop_watch import LoopWatch
from crossover.service.metrics import Observer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from crossover.endpoints.rest.app import Choose
    from crossover.endpoints.rest.types import ASGIApp
    from crossover.protocol.inference import Inference
    from crossover.rest_gateway.settings import GatewaySettings
    from crossover.service.tracing import Tracer


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
    api = Observed(Documents(_api(settings, upstreams, watch, tracer), HEADERS), observer, tracer)
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


def _api(settings: GatewaySettings, upstreams: Upstreams, watch: LoopWatch, tracer: Tracer | None) -> LazyApp:
    """The FastAPI half, built when it is first asked; what has to run until then runs from the start."""
    served = predictions.Predictions(upstreams, predictions.PredictionOptions.of(settings), tracer)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.enter_context(watch.running())
            stack.push_async_callback(upstreams.close)
            await stack.enter_async_context(served.running())
            yield

    def build() -> ASGIApp:
        from crossover.rest_gateway import api_app

        return api_app.build(settings, served)

    return LazyApp(build, running())
