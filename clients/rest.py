"""OIP REST as an `Inference`, with bodies of the codec that the wire's line names."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from crossover.clients.balancing.worker_pool import WorkerPool
from crossover.clients.rest_control import RESOURCES, model_path
from crossover.protocol import deadline, timeline
from crossover.protocol.codecs.codec import FRAMING_HEADER, Encoded
from crossover.protocol.codecs.json.text import dumps, loads
from crossover.protocol.codecs.proto_json import from_object
from crossover.protocol.codecs.registry import JSON
from crossover.protocol.codecs.sizes import TYPICAL_JSON_ELEMENT
from crossover.protocol.errors import Code, InferenceError, code_from_http, invalid
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.limits import HEAVY_BYTES, is_heavy
from crossover.protocol.propagation import propagated
from crossover.protocol.wires import Target, bearer, unix_path, wire
from crossover.protos import inference as pb
from crossover.transport.http1.client import HttpPool, HttpReply
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from crossover.protocol.messages import InferRequest, InferResponse

_JSON = ("content-type", "application/json")
_FRAMING_HEADER = FRAMING_HEADER.encode()
_TIMELINE_HEADER = timeline.HEADER.encode()
_SLACK_BYTES = 64 << 10
"""A reply's JSON head comes on top of its tensors."""
CONTROL_CONNECTIONS = 16
HEALTH_CONNECTIONS = 4
"""Control and health have connections of their own: inference that holds all of its own must not make a service look
unready, nor may a model that takes long to load."""


def connect(target: Target) -> Inference:
    """REST with the codec of the wire that is connected to; plain JSON both ways where none is named."""
    return RestClient(target, target.wire or "rest")


def _text_bytes(request: InferRequest) -> int:
    """About how much JSON a request becomes."""
    return TYPICAL_JSON_ELEMENT * sum([tensor.count for tensor in request.inputs])


class RestClient(Inference):
    """Calls another service's OIP REST routes; one instance belongs to one event loop."""

    def __init__(self, target: Target, wire_name: str) -> None:
        self._target = target
        self._wire = wire(wire_name)
        self._codec = (self._wire.codec or JSON).load()
        self._pool = _pool(target, target.connections, target.workers)
        self._control = _pool(target, CONTROL_CONNECTIONS)
        self._health = _pool(target, HEALTH_CONNECTIONS)
        self._url = target.rest

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        if self._wire.bytes_as_text and is_heavy(_text_bytes(request)):
            encoded = await asyncio.to_thread(self._encoded, request)
        else:
            encoded = self._encoded(request)
        headers = encoded.headers
        context.bytes_sent = encoded.size
        if context.timeline is not None:
            headers.append((timeline.HEADER, "1"))
            context.timeline.mark("sent")
        path = f"{model_path(request.model_name, request.model_version)}/infer"
        reply = await self._exchange("POST", path, context, headers, encoded.parts, self._pool)
        context.bytes_received = len(reply.body)
        if context.timeline is not None:
            context.timeline.mark("answered")
            context.timeline.adopt(reply.headers.get(_TIMELINE_HEADER, b"").decode("latin-1"))
        if reply.status != 200:
            raise self._error(reply)
        text = self._codec.text_size(len(reply.body), 0 if _FRAMING_HEADER in reply.headers else None)
        response = await asyncio.to_thread(self._decoded, reply) if text >= HEAVY_BYTES else self._decoded(reply)
        if context.timeline is not None:
            context.timeline.mark("read")
        return response

    async def control(self, method: str, request: Message, context: CallContext) -> Any:
        resource = RESOURCES[method]
        path, reply = resource.path(request), pb.METHODS[method].response()
        if resource.flag:
            answer = await self._exchange("GET", path, context, pool=self._health)
            setattr(reply, resource.flag, answer.status == 200 if resource.flag == "live" else self._readiness(answer))
            return reply
        if resource.body is None:
            answer = await self._exchange("GET", path, context)
        else:
            body = resource.body
            text = await off_loop(request.ByteSize(), lambda: dumps(body(request)))
            answer = await self._exchange("POST", path, context, [_JSON], [text])
        return await off_loop(len(answer.body), lambda: self._message(resource.reply(self._read(answer)), reply))

    async def close(self) -> None:
        for pool in (self._pool, self._control, self._health):
            await pool.close()

    def _encoded(self, request: InferRequest) -> Encoded:
        try:
            return self._codec.encode_request(request)
        except InferenceError as error:
            raise self._with_alternative(error) from None

    def _decoded(self, reply: HttpReply) -> InferResponse:
        framing = reply.headers.get(_FRAMING_HEADER)
        try:
            return self._codec.decode_response(reply.body, framing.decode("latin-1") if framing is not None else None)
        except InferenceError as error:
            raise self._unreadable(error) from None

    async def _exchange(
        self,
        method: str,
        path: str,
        context: CallContext,
        headers: list[tuple[str, str]] | None = None,
        parts: list[Any] | None = None,
        pool: HttpPool | None = None,
    ) -> HttpReply:
        sent = [*(headers or ()), *(propagated(context.headers).items() if context.headers else ())]
        if context.deadline != deadline.NEVER:
            if deadline.remaining(context.deadline) <= 0:
                raise deadline.exceeded(f"before the call to {self._url}")
            sent.append((deadline.TIMEOUT_HEADER, deadline.to_header(context.deadline) or "1"))
        pool = pool or self._control
        key = bearer(self._target) if self._target.api_key is not None else ()
        if context.recording is None:
            return await pool.request(method, path, [*sent, *key], parts or (), context.deadline)
        body = b"".join(parts or ())
        context.recording.begin(pool.origin.prefix + path, pool.framed(sent, len(body)), body)
        reply = await pool.request(method, path, [*sent, *key], parts or (), context.deadline)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in reply.headers.items()]
        context.recording.end(reply.status, [*headers], bytes(reply.body))
        return reply

    def _read(self, reply: HttpReply) -> Any:
        if reply.status != 200:
            raise self._error(reply)
        try:
            return loads(reply.body) if reply.body else None
        except InferenceError as error:
            raise self._unreadable(error) from None

    def _message(self, document: object, message: Message) -> Message:
        try:
            return from_object(document, message)
        except InferenceError as error:
            raise self._unreadable(error) from None

    def _readiness(self, reply: HttpReply) -> bool:
        """200 is ready; Triton says 400 for what is not, others 503."""
        if reply.status == 200:
            return True
        if reply.status in (400, 503):
            return False
        raise self._error(reply)

    def _error(self, reply: HttpReply) -> InferenceError:
        """The error that a reply means: its text, and its code where the service sent one."""
        try:
            document = loads(reply.body)
        except InferenceError:
            document = None
        text = document.get("error") if isinstance(document, dict) else None
        name = document.get("code") if isinstance(document, dict) else None
        code = code_from_http(reply.status, name if isinstance(name, str) else None)
        if not isinstance(text, str) or not text:
            return InferenceError(code, f"{self._url} answered with HTTP status {reply.status} and no text")
        return self._with_alternative(InferenceError(code, text))

    def _with_alternative(self, error: InferenceError) -> InferenceError:
        if error.code is Code.NOT_CARRIED and self._wire.instead and self._wire.instead not in error.message:
            text = f"{error.message} (upstream '{self._wire.instead}' carries it)"
            return InferenceError(error.code, text, error.retry_after)
        return error

    def _unreadable(self, error: InferenceError) -> InferenceError:
        return InferenceError(Code.UNKNOWN, f"the reply of {self._url} cannot be read: {error.message}")


def _pool(target: Target, connections: int, workers: int = 1) -> HttpPool:
    options: dict[str, Any] = {
        "context": _tls(target),
        "connections": connections,
        "max_reply_bytes": target.max_message_bytes,
        "slack_bytes": _SLACK_BYTES,
        "authority": target.authority,
    }
    if workers == 1 or unix_path(target.rest):
        return HttpPool(target.rest, **options)
    return WorkerPool(target.rest, workers, lambda: bearer(target), **options)


def _tls(target: Target) -> ssl.SSLContext | None:
    if not target.rest.startswith("https"):
        return None
    try:
        context = ssl.create_default_context(cafile=str(target.tls_ca) if target.tls_ca else None)
        if target.tls_cert is not None:
            context.load_cert_chain(target.tls_cert, target.tls_key)
    except OSError as error:
        raise invalid(f"the TLS files for {target.rest} cannot be used: {error.strerror or error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context
