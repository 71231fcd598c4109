"""`OipRest`: the Open Inference Protocol's REST routes as a plain ASGI application.

A framework's machinery for one request costs several times what the server below it does, so these routes use none;
whatever is not theirs goes to `fallback`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from crossover.endpoints.rest import control, v1
from crossover.endpoints.rest.body import ClientGoneError, read_body, too_large, with_bytes
from crossover.endpoints.rest.direct import Direct
from crossover.endpoints.rest.errors import HttpError, Reply, as_inference_error, error_reply
from crossover.endpoints.rest.guard import Guard
from crossover.endpoints.rest.infer import infer, infer_now
from crossover.endpoints.rest.routes import Route, match, not_found
from crossover.endpoints.rest.types import ASGIApp, Receive, Request, RestOptions, Scope, Send
from crossover.protocol import deadline, timeline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.propagation import PROPAGATED
from crossover.service.metrics import CONTENT_TYPE, Observer
from crossover.transport.eager_start import waiting
from crossover.transport.time_limit import TimeLimit

Choose: TypeAlias = Callable[[Mapping[str, str]], tuple[str | None, Inference]]

_HANDLERS: dict[str, Callable[[Request], Awaitable[Reply]]] = {
    "infer": infer,
    **{
        name: getattr(control, name)
        for name in ("alive", "live", "ready", "server_metadata", "models", "model_metadata", "model_ready", "config",
                     "statistics", "index", "load", "unload", "unsupported")
    },
    "v1_models": v1.v1_models,
    "v1_model": v1.v1_model,
    "v1_predict": v1.v1_predict,
}  # fmt: skip
_JOINED_BYTES = 64 << 10
"""Replies up to this size leave in one piece; the parts of larger ones are not copied together."""


class OipRest:
    """OIP REST and KServe V1 around the `Inference` that `choose` gives for a request's headers.

    The name that `choose` gives beside it, if any, is sent back as ``Inference-Upstream``. Paths outside ``/v1``,
    ``/v2`` and ``/metrics``, and ``/`` for browsers, go to `fallback`; without one they are NOT_FOUND.
    """

    takes_buffers = True
    """Large bodies come as memoryviews (endpoints/rest/serve.py)."""

    def __init__(
        self,
        choose: Choose,
        *,
        settings: RestOptions,
        observer: Observer | None = None,
        fallback: ASGIApp | None = None,
    ) -> None:
        self._choose = choose
        self._options = settings
        self._observer = observer
        self._fallback = fallback
        ms = settings.default_timeout_ms
        self._default_timeout = ms / 1000 if ms else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._beside_http(scope, receive, send)
            return
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        route = match(raw_path)
        if self._fallback is not None and self._is_fallbacks(route, raw_path, scope):
            await self._fallback(scope, with_bytes(receive), send)
        elif route is not None and route.name == "metrics" and self._observer is not None:
            await _send(send, self._metrics(route, scope["method"]))
        else:
            await self._serve(route, raw_path, scope, receive, send)

    def _is_fallbacks(self, route: Route | None, raw_path: bytes, scope: Scope) -> bool:
        if route is None:
            return not (raw_path.startswith((b"/v1/", b"/v2/")) or raw_path in (b"/v1", b"/v2"))
        if route.name == "alive":
            return scope["method"] not in route.methods or any(
                name == b"accept" and b"text/html" in value for name, value in scope["headers"]
            )
        return route.name == "metrics" and self._observer is None

    def _metrics(self, route: Route, method: str) -> Reply:
        assert self._observer is not None
        if method not in route.methods:
            return error_reply(_not_allowed(route))
        return Reply(200, [(b"content-type", CONTENT_TYPE.encode())], [self._observer.render()])

    async def _serve(self, route: Route | None, raw_path: bytes, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        observer = self._observer
        if observer is not None:
            observer.started("rest")
        code: Code | None = Code.CANCELLED
        try:
            reply, code = await self._reply(route, raw_path, scope, receive)
            if reply is not None:
                await _send(send, reply)
        finally:
            if observer is not None:
                name, model = (route.name, route.model) if route is not None else ("unknown", "")
                observer.finished("rest", name, model, code, time.perf_counter() - began)

    async def _reply(
        self, route: Route | None, raw_path: bytes, scope: Scope, receive: Receive
    ) -> tuple[Reply | None, Code | None]:
        """The reply, None when the client has gone; and its code, None when it succeeded."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        sent_back: list[tuple[bytes, bytes]] = []
        guard: Guard | None = None
        try:
            if route is None or route.name == "metrics":
                raise not_found(raw_path)
            if scope["method"] not in route.methods:
                raise _not_allowed(route)
            upstream, inference = self._choose(headers)
            if upstream is not None:
                sent_back.append((b"inference-upstream", upstream.encode()))
            context = self._context(headers)
            guard = Guard(receive, context.deadline)
            body = await read_body(receive, headers, self._options.max_message_bytes)
            guard.body_read()
            context.mark("received")
            reply, code = await self._handled(Request(route, headers, body, context, inference, self._options, guard))
        except ClientGoneError:
            return None, Code.CANCELLED
        except asyncio.CancelledError:
            reason = guard.reason if guard is not None else None
            if isinstance(reason, ClientGoneError):
                return None, Code.CANCELLED
            reply, code = _failed(reason or _stopping())
        except Exception as caught:  # noqa: BLE001 - the last handler: no exception may leave as a traceback
            reply, code = _failed(caught)
        finally:
            if guard is not None:
                guard.close()
        reply.headers.extend(sent_back)
        if code is not None and "expect" in headers:
            reply.headers.append((b"connection", b"close"))
        return reply, code

    async def _handled(self, request: Request) -> tuple[Reply, Code | None]:
        reply = await _HANDLERS[request.route.name](request)
        self._add_timing(reply, request)
        return reply, None if reply.status < 400 else Code.UNAVAILABLE

    def short_way(self, url: bytes) -> Route | None:
        """The route of an infer request, which may come to `answer` instead of through ASGI."""
        route = match(url)
        return route if route is not None and route.name == "infer" else None

    async def answer(self, asked: Direct) -> Reply | None:
        """The reply to a whole infer request; None when its client has gone. It needs no task before it waits."""
        began = time.perf_counter()
        observer = self._observer
        if observer is not None:
            observer.started("rest")
        code: Code | None = Code.CANCELLED
        try:
            reply, code = await self._answered(asked)
        finally:
            if observer is not None:
                observer.finished("rest", "infer", asked.route.model, code, time.perf_counter() - began)
        return reply

    async def _answered(self, asked: Direct) -> tuple[Reply | None, Code | None]:
        upstream: str | None = None
        code: Code | None
        limit: TimeLimit | None = None
        try:
            upstream, inference = self._choose(asked.fields)
            context = self._context(asked.fields)
            if len(asked.body) > self._options.max_message_bytes:
                raise too_large(self._options.max_message_bytes)
            context.mark("received")
            request = Request(asked.route, asked.fields, bytes(asked.body), context, inference, self._options)
            reply = infer_now(request)
            if reply is None:
                await waiting()
                limit = request.guard = TimeLimit(context.deadline)
                with limit:
                    reply = await infer(request)
            self._add_timing(reply, request)
            code = None
        except TimeoutError as caught:
            passed = limit is not None and limit.passed
            reply, code = _failed(deadline.exceeded("before the answer was ready") if passed else caught)
        except asyncio.CancelledError:
            if asked.disconnected:
                return None, Code.CANCELLED
            reply, code = _failed(_stopping())
        except Exception as caught:  # noqa: BLE001 - as above
            reply, code = _failed(caught)
        if upstream is not None:
            reply.headers.append((b"inference-upstream", upstream.encode()))
        return reply, code

    def _context(self, headers: dict[str, str]) -> CallContext:
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

    async def _beside_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._fallback is not None:
            await self._fallback(scope, with_bytes(receive), send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})


def _stopping() -> InferenceError:
    return InferenceError(Code.UNAVAILABLE, "the service is stopping")


def _failed(caught: Exception) -> tuple[Reply, Code]:
    error = as_inference_error(caught)
    return error_reply(error), error.code


def _not_allowed(route: Route) -> HttpError:
    allowed = ", ".join(route.methods)
    return HttpError(Code.METHOD_NOT_ALLOWED, f"this path takes {allowed}", [(b"allow", allowed.encode())])


async def _lifespan(receive: Receive, send: Send) -> None:
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def _send(send: Send, reply: Reply) -> None:
    parts = reply.parts
    size = sum(map(len, parts))
    if len(parts) > 1 and size <= _JOINED_BYTES:
        parts = [b"".join(parts)]
    reply.headers.append((b"content-length", b"%d" % size))
    await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1] if parts else b""})
