"""`python -m comparison.bench.floors`: uvicorn and grpc.aio with nothing behind them, answering recorded replies.

The replies are the model server's own, so that a floor sends what the service sends. FLOOR_REST_PORT and
FLOOR_GRPC_PORT say where, FLOOR_REPLIES names the folder of the replies: `<payload>-<wire>`, raw bodies or messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import uvicorn
from grpc import aio

from crossover.service import log, process
from crossover.transport.grpcio.poller import patient_poller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

_LARGE = 100_000
"""Bytes of a request from which it is the image."""


class Replies:
    """Recorded replies by payload and wire; `<payload>-rest-binary-head` is the length of that reply's JSON head."""

    def __init__(self, folder: Path) -> None:
        self._of = {path.name: path.read_bytes() for path in folder.iterdir()}

    def of(self, wire: str, request_bytes: int) -> bytes:
        return self._of[f"{'image' if request_bytes > _LARGE else 'digits'}-{wire}"]


def rest_floor(replies: Replies) -> Any:
    """ASGI that reads the body and answers."""

    async def app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            return
        size, more = 0, True
        while more:
            message: Any = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        binary = any(name == b"inference-header-content-length" for name, _ in scope["headers"])
        reply = replies.of("rest-binary" if binary else "rest", size)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(reply)).encode())]
        if binary:
            length = replies.of("rest-binary-head", size)
            headers.append((b"inference-header-content-length", length))
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": False})
        await send({"type": "http.response.body", "body": reply, "more_body": False})

    return app


class GrpcFloor(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc's stubs leave it untyped
    """A generic handler: bytes in, bytes out, no protobuf."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def service(self, _: object) -> Any:
        async def answer(message: bytes, _: object) -> bytes:
            return self._replies.of("grpc", len(message))

        return grpc.unary_unary_rpc_method_handler(answer)


class _Quiet(uvicorn.Server):
    """uvicorn without signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(stop: asyncio.Event) -> None:
    replies = Replies(Path(os.environ["FLOOR_REPLIES"]))
    with patient_poller():
        server = aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((GrpcFloor(replies),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['FLOOR_GRPC_PORT']}")
    await server.start()
    port = int(os.environ["FLOOR_REST_PORT"])
    config = uvicorn.Config(
        rest_floor(replies), "127.0.0.1", port, loop="uvloop", http="httptools", lifespan="off",
        access_log=False, log_level="warning",
    )  # fmt: skip
    web = _Quiet(config)
    serving = asyncio.create_task(web.serve())
    await stop.wait()
    web.should_exit = True
    await serving
    await server.stop(0)


if __name__ == "__main__":
    log.set_up_log("warning")
    sys.exit(process.run(serve))
