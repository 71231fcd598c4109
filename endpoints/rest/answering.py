"""`RestEndpoint`: the one way of a REST request from its head to its reply, whoever brought it.

Our own HTTP/1.1 connections (transport/http1) call `answer` when a request's head has come, and `__call__` is the same for
an ASGI server. Deadline, limits, metrics, timing and the mapping of errors stand here and nowhere else; what a request means
is its handler's. Requests that wait for nothing pass plain functions alone: a coroutine and its task cost about as much as a
small model.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from crossover.endpoints.rest.compression import decompress, request_coding
from crossover.endpoints.rest.errors import (
    HttpError,
    as_inference_error,
    as_seen_here,
    error_reply,
    no_memory,
    refused,
    too_large,
)
from crossover.endpoints.rest.mounting import AsgiCall, beside_http, send_reply
from crossover.endpoints.rest.routes import not_found
from crossover.endpoints.rest.types import Reply, Request, RestOptions
from crossover.protocol import deadline, timeline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.limits import HEAVY_BYTES
from crossover.protocol.names import check_model_name
from crossover.protocol.propagation import PROPAGATED
from crossover.service import log
from crossover.transport.eager_start import waiting
from crossover.transport.http1.exchange import UNCOUNTED_BYTES
from crossover.transport.http1.messages import BodyTooLargeError, ClientGoneError, NoMemoryError, RefusalError
from crossover.transport.loop_admission import admit
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from crossover.endpoints.rest.routes import Route
    from crossover.endpoints.rest.types import Call
    from crossover.service.metrics import Observer
    from crossover.transport.http1.asgi import ASGIApp, Receive, Scope, Send
    from crossover.transport.http1.messages import RequestHead

_INFERS = {"infer": "POST /v2/models/{model}/infer", "v1_predict": "POST /v1/models/{model}:predict"}
"""The routes that run models, with the names of their spans."""
_SAMPLE_SECONDS = 0.1
"""Of requests that do not ask for their timeline one in so long is timed nevertheless: stamps and their text cost a quarter of
a small request through the gateway."""
Choose: TypeAlias = Callable[[Mapping[str, str]], tuple[str | None, Inference]]
Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]
EagerHandler: TypeAlias = Callable[[Request], Reply | None]


class RestEndpoint:
    """Answers the requests that `match` finds a route for, around the `Inference` that `choose` gives for their headers.

    The name that `choose` gives beside it, if any, is sent back as ``Inference-Upstream``. What has no route goes to
    `fallback`; without one it is NOT_FOUND. `eager` handlers answer without waiting, or say that they cannot.
    """

    def __init__(
        self,
        choose: Choose,
        match: Callable[[RequestHead], Route],
        handlers: Mapping[str, Handler],
        eager: Mapping[str, EagerHandler],
        *,
        settings: RestOptions,
        observer: Observer | None = None,
        fallback: ASGIApp | None = None,
    ) -> None:
        self.fallback = fallback
        self.observer = observer
        self._choose = choose
        self._match = match
        self._handlers = handlers
        self._eager = eager
        self._options = settings
        ms = settings.default_timeout_ms
        self._default_timeout = ms / 1000 if ms else None
        self._sample_at = 0.0 if settings.timing else math.inf

    def route(self, head: RequestHead) -> Route | None:
        """Where a request goes; None: to `fallback`."""
        route = self._match(head)
        return None if self.fallback is not None and self.is_fallbacks(route, head) else route

    def is_fallbacks(self, route: Route, head: RequestHead) -> bool:  # noqa: ARG002 - others look at the head
        """Whether `fallback` answers a request."""
        return not route.methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for an ASGI server."""
        if scope["type"] != "http":
            await beside_http(self.fallback, scope, receive, send)
            return
        call = AsgiCall(scope, receive)
        call.head.route = self.route(call.head)
        if call.head.route is None and self.fallback is not None:
            await self.fallback(scope, receive, send)
            return
        try:
            unanswered = self.answer(call)
            if unanswered is not None:
                await unanswered
        finally:
            call.close()
        if call.answer is not None:
            await send_reply(send, call.answer, call.request_id)

    def answer(self, call: Call) -> Coroutine[Any, Any, None] | None:
        """Answer the request of a head that has come. What has to be waited for is left to the coroutine."""
        request = Request(call, call.head.route, call.head.by_name, self._options, time.perf_counter())
        if self.observer is not None:
            self.observer.started("rest")
        try:
            self._let_in(request)
            reply = self._at_once(call, request)
        except Exception as caught:  # noqa: BLE001 - see _failed
            reply = self._failed(caught, request)
        if reply is None:
            return self._wait(call, request)
        self._end(request, reply)
        return None

    async def _wait(self, call: Call, request: Request) -> None:
        """Answer within the deadline. The first step, `waiting`, is taken where the request came."""
        reply: Reply | None = None
        try:
            await waiting()
            log.request_id.set(call.request_id)
            limit = request.limit = TimeLimit(request.context.deadline)
            with limit:
                if not request.received or len(request.body) > UNCOUNTED_BYTES:
                    await self._receive(call, request)
                reply = await self._handlers[request.route.name](request)
        except asyncio.CancelledError:
            if not call.gone:
                reply = self._failed(InferenceError(Code.UNAVAILABLE, "the service is stopping"), request)
        except ClientGoneError:
            pass
        except Exception as caught:  # noqa: BLE001 - see _failed
            reply = self._failed(caught, request)
        finally:
            self._end(request, reply)

    def _let_in(self, request: Request) -> None:
        """What is told from the head alone: whether there is such a resource, who answers, until when, and whether there is time."""
        route, head = request.route, request.call.head
        if not head.allowed:
            _check(route, head)
        headers = request.headers
        request.upstream, request.inference = self._choose(headers)
        until = deadline.after(self._default_timeout)
        if (timeout := headers.get(deadline.TIMEOUT_HEADER)) is not None:
            until = min(until, deadline.from_header(timeout))
        context = request.context = CallContext(until)
        for name in PROPAGATED:
            if name in headers:
                context.headers[name] = headers[name]
        if route.name not in _INFERS:
            return
        if timeline.HEADER in headers:
            context.timeline = timeline.Timeline()
        elif request.began >= self._sample_at:
            self._sample_at = request.began + _SAMPLE_SECONDS
            context.timeline = timeline.Timeline()
        if self._options.tracer is not None:
            request.trace = self._options.tracer.begin(context)
        admit(route.model, context.deadline)

    def _at_once(self, call: Call, request: Request) -> Reply | None:
        """The reply to a request that is whole, where nothing has to be waited for."""
        answer = self._eager.get(request.route.name)
        body = call.body
        if answer is None or body is None or len(body) > self._options.max_message_bytes:
            return None
        if call.head.expects_continue or "content-encoding" in request.headers:
            return None
        call.ask()
        request.body, request.received = body, True
        if request.context.timeline is not None:
            request.context.timeline.mark("received")
        return answer(request)

    def _failed(self, caught: Exception, request: Request) -> Reply:
        """The last handler of a request's exceptions: none leaves as a traceback."""
        if isinstance(caught, RefusalError):
            reply, request.code = refused(caught)
            return reply
        if isinstance(caught, TimeoutError) and request.limit is not None and request.limit.passed:
            caught = deadline.exceeded("before the answer was ready")
        error = as_inference_error(caught, request.call.request_id)
        if self._options.is_gateway:
            error = as_seen_here(error)
        request.code = error.code
        return error_reply(error)

    def _end(self, request: Request, reply: Reply | None) -> None:
        """Count the request, and send the reply; None: the client has gone."""
        if reply is None:
            request.code = Code.CANCELLED
        else:
            size = sum(map(len, reply.parts))
            if size >= HEAVY_BYTES and not request.call.hold(size):  # once it is written its connection counts it
                reply = self._failed(no_memory(), request)
            self._add_fields(request, reply)
        if self.observer is not None:
            spent, route = time.perf_counter() - request.began, request.route
            self.observer.finished("rest", route.name, route.model, request.code, spent, request.upstream or "")
        if reply is not None:
            request.call.reply(reply)

    def _add_fields(self, request: Request, reply: Reply) -> None:
        """What a reply says of its way, whoever made it."""
        if request.code is None:
            if reply.status >= 400:
                request.code = Code.UNAVAILABLE
            elif request.context.timeline is not None:
                self._tell_timing(request.context.timeline, request, reply)
        if request.trace is not None and self._options.tracer is not None:
            name = _INFERS[request.route.name]
            self._options.tracer.end(request.trace, name, _spoken(request, reply), request.code, request.upstream)
        if request.upstream is not None:
            reply.headers.append((b"inference-upstream", request.upstream.encode()))

    async def _receive(self, call: Call, request: Request) -> None:
        """Read the body within the limits, without its content coding; UNSUPPORTED_MEDIA_TYPE before that is read.

        The content type is not looked at: tritonclient sends none.
        """
        limit = self._options.max_message_bytes
        coding = request_coding(request.headers.get("content-encoding"))
        try:
            body = await call.read(limit)
            if coding is not None and body:
                body = await decompress(body, coding, limit, call.hold)
        except BodyTooLargeError:
            raise too_large(limit) from None
        except NoMemoryError:
            raise no_memory() from None
        request.body = body
        request.context.mark("received")

    def _tell_timing(self, stations: timeline.Timeline, request: Request, reply: Reply) -> None:
        """The stations of an infer request, for those who want them."""
        if "decoded" not in stations.stamps:
            return
        stations.mark("encoded")
        if self._options.timing:
            spent = timeline.durations(stations)
            reply.headers.append((b"server-timing", timeline.server_timing(spent).encode()))
            if self.observer is not None:
                self.observer.timed(spent)
        if timeline.HEADER in request.headers:
            reply.headers.append((timeline.HEADER.encode(), stations.to_header().encode()))


def _spoken(request: Request, reply: Reply) -> dict[str, str | int]:
    """What a span says of its request, in OpenTelemetry's names."""
    route = request.route
    method, _, template = _INFERS[route.name].partition(" ")
    return {
        "http.request.method": method,
        "http.route": template,
        "http.response.status_code": reply.status,
        "crossover.model": route.model,
        "crossover.request_id": request.call.request_id,
    }


def _check(route: Route, head: RequestHead) -> None:
    """NOT_FOUND, METHOD_NOT_ALLOWED, or INVALID_ARGUMENT for a name that is none, before the body is read."""
    if head.method in route.methods:
        check_model_name(route.model)
        head.allowed = True
        return
    if not route.methods:
        raise not_found(head.path)
    allowed = ", ".join(route.methods)
    raise HttpError(Code.METHOD_NOT_ALLOWED, f"this path takes {allowed}", [(b"allow", allowed.encode())])
