"""`OipRest`: the Open Inference Protocol's REST routes and KServe V1.

A framework's machinery for one request costs several times what the server below it does, so these routes use none;
whatever is not theirs goes to `fallback`, an ASGI application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest import control, shared_memory, v1
from crossover.endpoints.rest.answering import Choose, Handler, RestEndpoint
from crossover.endpoints.rest.infer import infer, infer_at_once
from crossover.endpoints.rest.routes import NOWHERE, match
from crossover.endpoints.rest.types import Reply
from crossover.service.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from crossover.endpoints.rest.routes import Route
    from crossover.endpoints.rest.types import Call, RestOptions
    from crossover.service.metrics import Observer
    from crossover.transport.http1.asgi import ASGIApp
    from crossover.transport.http1.messages import RequestHead

__all__ = ["Choose", "OipRest"]

_HANDLERS: dict[str, Handler] = {
    "infer": infer,
    **{
        name: getattr(control, name)
        for name in ("alive", "live", "ready", "server_metadata", "models", "model_metadata", "model_ready", "config",
                     "statistics", "index", "load", "unload", "unsupported")
    },
    **{
        name: getattr(shared_memory, name)
        for kind in ("system", "cuda")
        for name in (f"{kind}_memory_status", f"{kind}_memory_register", f"{kind}_memory_unregister")
    },
    "v1_models": v1.v1_models,
    "v1_model": v1.v1_model,
    "v1_predict": v1.v1_predict,
}  # fmt: skip
_SLASHES = (b"/v1/", b"/v2/")
_ROOTS = (b"/v1", b"/v2")


class OipRest(RestEndpoint):
    """OIP REST and KServe V1 around the `Inference` that `choose` gives for a request's headers.

    Paths outside ``/v1``, ``/v2`` and ``/metrics``, and ``/`` for browsers, go to `fallback`; without one they are
    NOT_FOUND.
    """

    def __init__(
        self,
        choose: Choose,
        *,
        settings: RestOptions,
        observer: Observer | None = None,
        fallback: ASGIApp | None = None,
    ) -> None:
        super().__init__(
            choose, _match, _HANDLERS, {"infer": infer_at_once}, settings=settings, observer=observer, fallback=fallback
        )

    def route(self, head: RequestHead) -> Route | None:
        route = super().route(head)
        return NOWHERE if route is not None and route.name == "metrics" and self.observer is None else route

    def is_fallbacks(self, route: Route, head: RequestHead) -> bool:
        if route is NOWHERE:
            return not (head.path.startswith(_SLASHES) or head.path in _ROOTS)
        if route.name == "alive":
            return head.method not in route.methods or "text/html" in head.by_name.get("accept", "")
        return route.name == "metrics" and self.observer is None

    def answer(self, call: Call) -> Coroutine[Any, Any, None] | None:
        """A scrape is not counted among what it tells of."""
        route: Route = call.head.route
        if route.name == "metrics" and call.head.method in route.methods:
            return self._scrape(call)
        return super().answer(call)

    async def _scrape(self, call: Call) -> None:
        assert self.observer is not None
        metrics = await self.observer.render_all()
        call.reply(Reply(200, [(b"content-type", CONTENT_TYPE.encode())], [metrics]))


def _match(head: RequestHead) -> Route:
    return match(head.path)
