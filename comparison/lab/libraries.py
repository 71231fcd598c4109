"""The library and framework rungs: `rest` as it is, with one part of it exchanged for a stock one."""

from __future__ import annotations

import asyncio
import gzip
from abc import abstractmethod
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
import httpx

from crossover.clients import grpc_unary, rest
from crossover.clients.rest import RestClient
from crossover.comparison.lab.wires import LEAN_PORT, STOCK_PORT, address, socket
from crossover.protocol import deadline
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.errors import Code, InferenceError, code_from_http
from crossover.protocol.inference import Wrapper
from crossover.protocol.wires import Target
from crossover.transport.http1.client import HttpPool

if TYPE_CHECKING:
    from crossover.protocol.inference import CallContext, Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.transport.http1.client import HttpReply


_GRPC_LEVEL = 6
"""zlib's default, which is what gRPC compresses with."""
_GZIP_MAGIC = b"\x1f\x8b"


def connect_httpx(target: Target) -> Inference:
    return HttpxClient(target)


def connect_one_connection(target: Target) -> Inference:
    return rest.connect(replace(target, connections=1))


def connect_httpx2(target: Target) -> Inference:
    return HttpxClient(target, import_module("httpx2"))


def connect_aiohttp(target: Target) -> Inference:
    return AiohttpClient(target)


def connect_rest_unix(target: Target) -> Inference:
    return rest.connect(replace(target, rest=socket(target, "rest")))


def connect_grpc_unix(target: Target) -> Inference:
    return grpc_unary.connect(Target(grpc=socket(target, "grpc")))


def connect_grpc_lean_both(target: Target) -> Inference:
    """The lean client, before the lean server that the lab opens beside the model server's own port."""
    return grpc_unary.connect_lean(Target(grpc=address(target, LEAN_PORT)))


def connect_gzip(target: Target) -> Inference:
    return GzipClient(target)


def connect_no_keepalive(target: Target) -> Inference:
    return NoKeepAlive(target, target.wire)


def connect_fastapi(target: Target) -> Inference:
    """The lean client, before the stock server."""
    return FastApiClient(target)


class NoKeepAlive(RestClient):
    """Asks the service to close the connection after every reply, so that each request opens its own."""

    async def _exchange(
        self,
        method: str,
        path: str,
        context: CallContext,
        headers: list[tuple[str, str]] | None = None,
        parts: list[Any] | None = None,
        pool: HttpPool | None = None,
    ) -> HttpReply:
        return await super()._exchange(method, path, context, [*(headers or ()), ("connection", "close")], parts, pool)


class FastApiClient(Wrapper):
    """Infer calls go to the stock server; everything else over plain REST to the model server."""

    def __init__(self, target: Target) -> None:
        super().__init__(rest.connect(target))
        self._stock = rest.connect(Target(rest=f"http://{address(target, STOCK_PORT)}", connections=target.connections))

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await self._stock.infer(request, context)

    async def close(self) -> None:
        await self._stock.close()
        await self.inner.close()


class LibraryClient(Wrapper):
    """Our JSON codec over somebody else's HTTP client, to the plain routes."""

    def __init__(self, target: Target) -> None:
        super().__init__(rest.connect(target))
        self._url = target.rest
        self._connections = target.connections

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        body = self.packed(json_codec.encode_request(request))
        context.bytes_sent = len(body)
        context.mark("sent")
        headers = {"content-type": "application/json", **self.coding}
        if (left := deadline.to_header(context.deadline)) is not None:
            headers[deadline.TIMEOUT_HEADER] = left
        url = f"{self._url}/v2/models/{request.model_name}/infer"
        try:
            status, reply = await self.post(url, headers, body, deadline.timeout_of(context.deadline))
        except self.failures as error:
            raise InferenceError(Code.UNAVAILABLE, f"{self._url} did not answer: {error}") from None
        context.bytes_received = len(reply)
        context.mark("answered")
        if status != 200:
            raise InferenceError(code_from_http(status), reply[:200].decode("utf-8", "replace"))
        response = json_codec.decode_response(self.unpacked(reply))
        context.mark("read")
        return response

    failures: tuple[type[Exception], ...] = (TimeoutError,)
    """What the library raises where there is no answer."""
    coding: ClassVar[dict[str, str]] = {"accept-encoding": "identity"}
    """These libraries ask for gzip by themselves; that would be a second change."""

    def packed(self, body: bytes) -> bytes:
        """The body as it is sent."""
        return body

    def unpacked(self, reply: bytes) -> bytes:
        """The JSON of a reply's body."""
        return reply

    @abstractmethod
    async def post(self, url: str, headers: dict[str, str], body: bytes, timeout: float | None) -> tuple[int, bytes]:
        """Status and body of one exchange."""


class HttpxClient(LibraryClient):
    """By httpx, or by a library that has its interface."""

    def __init__(self, target: Target, library: Any = httpx, **more: Any) -> None:
        super().__init__(target)
        self.failures = (library.HTTPError, TimeoutError)
        limits = library.Limits(max_connections=target.connections, max_keepalive_connections=target.connections)
        self._client = library.AsyncClient(limits=limits, trust_env=False, **more)

    async def post(self, url: str, headers: dict[str, str], body: bytes, timeout: float | None) -> tuple[int, bytes]:
        reply = await self._client.post(url, headers=headers, content=body, timeout=timeout)
        return reply.status_code, reply.content

    async def close(self) -> None:
        await self._client.aclose()
        await self.inner.close()


class AiohttpClient(LibraryClient):
    failures = (aiohttp.ClientError, TimeoutError)
    _session: aiohttp.ClientSession | None = None

    async def post(self, url: str, headers: dict[str, str], body: bytes, timeout: float | None) -> tuple[int, bytes]:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(connector=connector)
        limit = aiohttp.ClientTimeout(total=timeout)
        async with self._session.post(url, headers=headers, data=body, timeout=limit) as reply:
            return reply.status, await reply.read()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self.inner.close()


class GzipClient(LibraryClient):
    """Our own client and codec, with request and reply compressed as HTTP has it; small replies come as they are."""

    coding: ClassVar[dict[str, str]] = {"accept-encoding": "gzip", "content-encoding": "gzip"}

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._pool = HttpPool(target.rest, connections=target.connections)

    def packed(self, body: bytes) -> bytes:
        return gzip.compress(body, _GRPC_LEVEL, mtime=0)

    async def post(self, url: str, headers: dict[str, str], body: bytes, timeout: float | None) -> tuple[int, bytes]:
        path = url.removeprefix(self._url)
        async with asyncio.timeout(timeout):
            reply = await self._pool.request("POST", path, list(headers.items()), [body])
        return reply.status, bytes(reply.body)

    def unpacked(self, reply: bytes) -> bytes:
        return gzip.decompress(reply) if reply[:2] == _GZIP_MAGIC else reply

    async def close(self) -> None:
        await self._pool.close()
        await self.inner.close()
