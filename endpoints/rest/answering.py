"""`RestEndpoint`: the one way of a REST request from its head to its reply, whoever brought it.

Our own HTTP/1.1 connections (transport/http1) call `answer` when a request's head has come, and `__call__` is the same for
an ASGI server. Deadline, limits, metrics, timing and the mapping of errors stand here and nowhere else; what a request means
is its handler's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

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
from crossover.transport.http1.messages import BodyTooLargeError, ClientGoneError, NoMemoryError, RefusalError
from crossover.transport.loop_admission import admit
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from crossover.endpoints.rest.routes import Route
    from crossover.service.metrics import Observer
    from crossover.transport.http1.asgi import ASGIApp, Receive, Scope, Send
    from crossover.transport.http1.messages import Buffer, RequestHead

_INFERS = {"infer": "POST /v2/models/{model}/infer", "v1_predict": "POST /v1/models/{model}:predict"}
"""The routes that run models, with the names of their spans."""
Choose: TypeAlias = Callable[[Mapping[str, str]], tuple[str | None, Inference]]
Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]
EagerHandler: TypeAlias = Callable[[Request], Reply | None]


class Call(Protocol):
    """A request as it was brought: `transport.http1.exchange.Exchange`, or `AsgiCall`."""

    @property
    def head(self) -> RequestHead: ...

    @property
    def body(self) -> Buffer | None:
        """The body, if all of it is here."""
        ...

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id`, or one that was made for it."""
        ...

    @property
    def gone(self) -> bool:
        """The client has closed the connection; the task that answers is cancelled then."""
        ...

    def ask(self) -> None:
        """The body is wanted."""
        ...

    def hold(self, size: int) -> bool:
        """Count memory that the request takes; False where the requests in flight may have no more."""
        ...

    async def read(self, limit: int) -> Buffer: ...


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
            reply = await self.answer(call)
        finally:
            call.close()
        if reply is not None:
            await send_reply(send, reply, call.request_id)

    async def answer(self, call: Call) -> Reply | None:
        """The reply to a request whose head has come; None when its client has gone. It needs no task before it waits."""
        began = time.perf_counter()
        route: Route = call.head.route
        observer = self.observer
        if observer is not None:
            observer.started("rest")
        code: Code | None = Code.CANCELLED
        upstream: str | None = None
        try:
            reply, code, upstream = await self._reply(call, route)
        finally:
            if observer is not None:
                spent = time.perf_counter() - began
                observer.finished("rest", route.name, route.model, code, spent, upstream or "")
        return reply

    async def _reply(self, call: Call, route: Route) -> tuple[Reply | None, Code | None, str | None]:
        """The reply, None when the client has gone; its code, None when it succeeded; and the upstream that was chosen."""
        upstream: str | None = None
        code: Code | None
        limit: TimeLimit | None = None
        tracer, trace = self._options.tracer, None
        try:
            head = call.head
            if not head.allowed:
                _check(route, head)
            headers = head.by_name
            upstream, inference = self._choose(headers)
            request = Request(route, headers, b"", self._context(headers), inference, self._options, call.hold)
            if route.name in _INFERS:
                if tracer is not None:
                    trace = tracer.begin(request.context)
                admit(route.model, request.context.deadline)
            reply = self._at_once(call, request)
            if reply is None:
                await waiting()
                log.request_id.set(call.request_id)
                limit = request.limit = TimeLimit(request.context.deadline)
                with limit:
                    await self._receive(call, request)
                    reply = await self._handlers[route.name](request)
            if not _has_room(reply, call):
                raise no_memory()
            if request.context.timeline is not None:
                self._add_timing(reply, request)
            code = None if reply.status < 400 else Code.UNAVAILABLE
        except TimeoutError as caught:
            passed = limit is not None and limit.passed
            failure = deadline.exceeded("before the answer was ready") if passed else caught
            reply, code = self._failed(failure, call)
        except asyncio.CancelledError:
            if call.gone:
                return None, Code.CANCELLED, upstream
            reply, code = self._failed(InferenceError(Code.UNAVAILABLE, "the service is stopping"), call)
        except ClientGoneError:
            return None, Code.CANCELLED, upstream
        except RefusalError as refusal:
            reply, code = refused(refusal)
        except Exception as caught:  # noqa: BLE001 - the last handler: no exception may leave as a traceback
            reply, code = self._failed(caught, call)
        if trace is not None and tracer is not None:
            tracer.end(trace, _INFERS[route.name], _spoken(route, reply, call), code, upstream)
        if upstream is not None:
            reply.headers.append((b"inference-upstream", upstream.encode()))
        return reply, code, upstream

    def _failed(self, caught: Exception, call: Call) -> tuple[Reply, Code]:
        error = as_inference_error(caught, call.request_id)
        if self._options.is_gateway:
            error = as_seen_here(error)
        return error_reply(error), error.code

    def _at_once(self, call: Call, request: Request) -> Reply | None:
        """The reply to a request that is whole, where nothing has to be waited for."""
        answer = self._eager.get(request.route.name)
        body = call.body
        if answer is None or body is None or len(body) > self._options.max_message_bytes:
            return None
        if call.head.expects_continue or "content-encoding" in request.headers:
            return None
        call.ask()
        request.body = body
        request.context.mark("received")
        return answer(request)

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

    def _context(self, headers: Mapping[str, str]) -> CallContext:
        until = deadline.after(self._default_timeout)
        if (asked := headers.get(deadline.TIMEOUT_HEADER)) is not None:
            until = min(until, deadline.from_header(asked))
        context = CallContext(until)
        if self._options.timing or timeline.HEADER in headers:
            context.timeline = timeline.Timeline()
        for name in PROPAGATED:
            if name in headers:
                context.headers[name] = headers[name]
        return context

    def _add_timing(self, reply: Reply, request: Request) -> None:
        """The stations of an infer request, for those who want them."""
        stations, headers = request.context.timeline, request.headers
        if stations is None or "decoded" not in stations.stamps:
            return
        stations.mark("encoded")
        if self._options.timing:
            reply.headers.append((b"server-timing", timeline.server_timing(stations).encode()))
        if timeline.HEADER in headers:
            reply.headers.append((timeline.HEADER.encode(), stations.to_header().encode()))


def _spoken(route: Route, reply: Reply, call: Call) -> dict[str, str | int]:
    """What a span says of its request, in OpenTelemetry's names."""
    method, _, template = _INFERS[route.name].partition(" ")
    return {
        "http.request.method": method,
        "http.route": template,
        "http.response.status_code": reply.status,
        "crossover.model": route.model,
        "crossover.request_id": call.request_id,
    }


def _has_room(reply: Reply, call: Call) -> bool:
    """Whether a large reply fits into the memory of all requests until it is sent; from then on its connection counts it."""
    size = sum(map(len, reply.parts))
    return size < HEAVY_BYTES or call.hold(size)


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
