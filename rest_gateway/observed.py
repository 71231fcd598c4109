"""Counts what the FastAPI half serves in the same metrics as the OIP routes, by route template, and names its request to logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, code_from_http
from crossover.rest_gateway.api.failures import PREFIX
from crossover.service.log import request_id
from crossover.service.tracing import current
from crossover.transport.http1.asgi import REQUEST_ID_STATE

if TYPE_CHECKING:
    from typing import Any

    from crossover.endpoints.rest.types import ASGIApp, Receive, Scope, Send
    from crossover.service.metrics import Observer
    from crossover.service.tracing import Trace, Tracer


class Observed:
    """An ASGI application around another one; labels are templates, so that ids in paths make no time series."""

    def __init__(self, app: ASGIApp, observer: Observer, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self.app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        code: Code | None = Code.CANCELLED
        status = 0
        trace = self._traced(scope) if self._tracer is not None else None
        if trace is not None:
            current.set(trace)

        async def watched(message: Any) -> None:
            nonlocal code, status
            if message["type"] == "http.response.start":
                status = message["status"]
                code = code_from_http(status) if status >= 400 else None
            await send(message)

        request_id.set(scope["state"].get(REQUEST_ID_STATE, "") if "state" in scope else "")
        began = time.perf_counter()
        self._observer.started("rest")
        try:
            await self.app(scope, receive, watched)
        except Exception:
            code = Code.INTERNAL
            raise
        finally:
            self._observer.finished("rest", _template(scope), "", code, time.perf_counter() - began)
            if trace is not None and self._tracer is not None:
                method, template = scope["method"], _template(scope)
                attributes = {
                    "http.request.method": method,
                    "http.route": template,
                    "http.response.status_code": status,
                }
                attributes["crossover.request_id"] = request_id.get()
                self._tracer.end(trace, f"{method} {template}", attributes, code)

    def _traced(self, scope: Scope) -> Trace | None:
        """Requests under /api are sampled; files and pages are not."""
        if self._tracer is None or not scope["path"].startswith(f"{PREFIX}/"):
            return None
        fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        return self._tracer.sampled(fields)


def _template(scope: Scope) -> str:
    """`/api/predictions/{prediction_id}`, say; for files the folder that is mounted; unknown for what nobody serves."""
    route = scope.get("route")
    return str(route.path) if route is not None else scope.get("root_path") or "unknown"
