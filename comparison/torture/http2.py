"""What one HTTP/2 connection may do to the others: our own server (`lean`) and grpcio's, tried on the model server's port."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np

from crossover.comparison.torture import attack
from crossover.comparison.torture.promise import Figure, Promise
from crossover.protocol import deadline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target, connect
from crossover.transport.http2 import frames as http2

if TYPE_CHECKING:
    from crossover.comparison.torture.ground import Ground

LEAN_SETTINGS = {"MODEL_SERVER_GRPC_LIBRARY": "lean", "GATEWAY_UPSTREAM": "rest"}
GRPCIO_SETTINGS = {"MODEL_SERVER_GRPC_LIBRARY": "grpcio", "GATEWAY_UPSTREAM": "rest"}
OTHERS_SECONDS = 3.0
"""What another caller may wait during a flood, on a busy machine too."""
FLOOD_SECONDS = 3.0
_ENDED_SECONDS = 10.0
"""Within which a flood ends its connection, on a busy machine too: the bounds are numbers of frames, not seconds."""
_CALLERS = 4
_BATCH = 1000
_REQUEST = InferRequest("identity", [Tensor.from_array("x", np.array([[1.5, -2]], np.float32))])


def _message() -> bytes:
    """A unary call's message with its five bytes before it."""
    data = protobuf_codec.encode_request(_REQUEST)
    return b"\0" + len(data).to_bytes(4, "big") + data


class Callers:
    """Ordinary calls of another connection, four at a time, by the gRPC client of grpcio."""

    def __init__(self, port: int) -> None:
        self.answered = self.failed = 0
        self.longest = 0.0
        self._port = port
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    async def _run(self) -> None:
        client = connect("grpc", Target(f"127.0.0.1:{self._port}"))
        with contextlib.suppress(InferenceError):
            await client.infer(_REQUEST, CallContext(deadline.after(10)))
        self._ready.set()
        while not self._stopping.is_set():
            began = time.monotonic()
            calls = (client.infer(_REQUEST, CallContext(deadline.after(30))) for _ in range(_CALLERS))
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            failed = sum(isinstance(one, BaseException) for one in outcomes)
            self.failed, self.answered = self.failed + failed, self.answered + _CALLERS - failed
            self.longest = max(self.longest, time.monotonic() - began)
            await asyncio.sleep(0.02)
        await client.close()

    @property
    def served(self) -> bool:
        return not self.failed and bool(self.answered) and self.longest < OTHERS_SECONDS

    @property
    def text(self) -> str:
        failures = f", {self.failed} of {self.failed + self.answered} failed" if self.failed else ""
        return f"others waited {self.longest:.2f} s at most{failures}"


def _pings() -> Iterator[bytes]:
    return itertools.repeat(http2.frame(http2.PING, 0, 0, b"12345678") * _BATCH)


def _settings() -> Iterator[bytes]:
    return itertools.repeat(
        http2.frame(http2.SETTINGS, 0, 0, http2.settings({http2.INITIAL_WINDOW_SIZE: 1000})) * _BATCH
    )


def _opened() -> bytes:
    return http2.frame(http2.HEADERS, http2.END_HEADERS, 1, attack.grpc_head())


def _empty_data() -> Iterator[bytes]:
    return itertools.chain([_opened()], itertools.repeat(http2.frame(http2.DATA, 0, 1) * _BATCH))


def _continuations() -> Iterator[bytes]:
    begun = http2.frame(http2.HEADERS, 0, 1, attack.grpc_head())
    return itertools.chain([begun], itertools.repeat(http2.frame(http2.CONTINUATION, 0, 1) * _BATCH))


def _priorities() -> Iterator[bytes]:
    return itertools.repeat(http2.frame(http2.PRIORITY, 0, 1, bytes(5)) * _BATCH)


def _resets() -> Iterator[bytes]:
    """HEADERS, DATA and RST_STREAM (CVE-2023-44487)."""
    block, message = attack.grpc_head(), _message()
    for first in range(1, 1 << 22, 200):
        yield b"".join(
            http2.frame(http2.HEADERS, http2.END_HEADERS, number, block)
            + http2.frame(http2.DATA, http2.END_STREAM, number, message)
            + http2.frame(http2.RST_STREAM, 0, number, http2.number(http2.CANCEL))
            for number in range(first, first + 200, 2)
        )


def _faults() -> Iterator[bytes]:
    """Streams that the other side has to reset, for a field name in upper case on each (CVE-2025-8671).

    Each is one frame that brings something forward, so that nothing but the count of faults ends this.
    """
    block = attack.grpc_head(("Fault", ""))
    for first in range(1, 1 << 22, 200):
        yield b"".join(
            http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, number, block)
            for number in range(first, first + 200, 2)
        )


Flood = Callable[[], Iterator[bytes]]
_IDLE: dict[str, Flood] = {
    "PING": _pings, "SETTINGS": _settings, "empty DATA": _empty_data, "CONTINUATION": _continuations,
    "PRIORITY": _priorities,
}  # fmt: skip


def _ended(floods: dict[str, Flood], ground: Ground) -> Figure:
    """Each flood ends its connection, and no call of another one fails or waits long."""
    longest = {}
    for name, flood in floods.items():
        with Callers(ground.grpc_port) as others:
            after = attack.flooded(ground.grpc_port, flood(), _ENDED_SECONDS)
            time.sleep(0.3)
        longest[name] = others.longest
        if after is None or not others.served:
            ended = "not ended" if after is None else f"ended after {after:.1f} s"
            return Figure(False, f"{name}: {ended}; {others.text}", longest)
    worst = max(longest, key=lambda name: longest[name])
    return Figure(True, f"all ended; others waited {longest[worst]:.2f} s at most ({worst})", longest)


def _served(flood: Flood, ground: Ground) -> Figure:
    """A flood that grpcio has no way to end: no call of another connection fails or waits long."""
    with Callers(ground.grpc_port) as others:
        attack.flooded(ground.grpc_port, flood(), FLOOD_SECONDS)
        time.sleep(0.5)
    return Figure(others.served, others.text, {"longest": others.longest, "failed": others.failed})


def _unread_pings(ground: Ground) -> Figure:
    """As many PINGs as the kernel holds, read at once by a server that was stopped; nobody reads their acks."""
    ground.renew_model_server()
    port, service = ground.grpc_port, ground.model_server
    with Callers(port) as others, attack.begun(port) as connection:
        time.sleep(0.3)
        service.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            connection.setblocking(False)
            block = http2.frame(http2.PING, 0, 0, b"12345678") * _BATCH
            for _ in range(400):
                connection.send(block)
        except BlockingIOError:
            pass
        finally:
            os.kill(service.pid, signal.SIGCONT)
        paused = time.monotonic() - stopped
        time.sleep(FLOOD_SECONDS)
    longest = max(0.0, others.longest - paused)
    kept = not others.failed and longest < OTHERS_SECONDS
    return Figure(kept, others.text, {"longest": longest, "failed": others.failed})


LEAN = (
    Promise(
        "lean.idle-frames", f"{', '.join(_IDLE)} at full speed: the connection ends, others within {OTHERS_SECONDS:g} s",
        partial(_ended, _IDLE),
    ),
    Promise("lean.resets", "HEADERS, DATA, RST_STREAM at full speed: likewise", partial(_ended, {"resets": _resets})),
    Promise("lean.faults", "faults on stream after stream: likewise", partial(_ended, {"faults": _faults})),
)  # fmt: skip
GRPCIO = (
    Promise("grpcio.resets", f"the same resets: no other call fails, {OTHERS_SECONDS:g} s at most", partial(_served, _resets)),
    Promise("grpcio.unread-pings", "240,000 PINGs whose acks nobody reads: likewise", _unread_pings),
)  # fmt: skip
