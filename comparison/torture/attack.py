"""Raw connections that do what no client would, and the ordinary callers beside them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from crossover.transport.http2 import frames as http2
from crossover.transport.http2.header_blocks import HeaderWriter

IDENTITY = "/v2/models/identity/infer"
SMALL = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}]}).encode()
_PIECE = b"a" * (1 << 20)
_POLL_SECONDS = 0.02


def connected(port: int, seconds: float = 10.0) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), seconds)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def head(method: str, path: str, *fields: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


def post(body: bytes, path: str = IDENTITY, *fields: str) -> bytes:
    return head("POST", path, f"Content-Length: {len(body)}", *fields) + body


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size >> 20):
        yield _PIECE


def answered(port: int, data: Iterable[bytes], seconds: float = 10.0) -> int:
    """Send `data` as far as the other side takes it; the status of what comes back, 0 where nothing does."""
    with connected(port, seconds) as connection:
        return _answer(connection, iter(data), time.monotonic() + seconds)


def _answer(connection: socket.socket, data: Iterator[bytes], until: float) -> int:
    """Both directions at once: a refusal comes while the request is still being sent."""
    connection.setblocking(False)
    unsent, received = memoryview(b""), b""
    open_for_more = True
    while time.monotonic() < until:
        if open_for_more and not unsent:
            unsent = memoryview(next(data, b""))
            open_for_more = bool(unsent)
        try:
            if unsent:
                unsent = unsent[connection.send(unsent) :]
        except BlockingIOError:
            time.sleep(0.001)
        except OSError:
            open_for_more, unsent = False, memoryview(b"")
        try:
            new = connection.recv(1 << 16)
            received += new
            if b"\r\n" in received[:64]:
                return int(received[9:12])
            if not new:
                return 0
        except BlockingIOError:
            if not unsent and not open_for_more:
                time.sleep(0.001)
        except OSError:
            return 0
    return 0


class Neighbour:
    """An ordinary caller of another connection while something goes on; and the memory of a process meanwhile."""

    def __init__(self, ask: Callable[[], int], pid: int) -> None:
        """`ask` gives an HTTP status, or 0 for a call that failed."""
        self.statuses: Counter[int] = Counter()
        self.longest = 0.0
        """Seconds of the slowest call."""
        self._ask, self._pid = ask, pid
        self._resident = resident_bytes(pid)
        self.grown = 0
        """Bytes of resident memory above that of the beginning, at the most."""
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._call), threading.Thread(target=self._watch)]

    def __enter__(self) -> Self:
        self._ask()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)

    @property
    def text(self) -> str:
        failures = f", {self.failed} of {sum(self.statuses.values())} failed" if self.failed else ""
        return f"others waited {self.longest:.2f} s at most{failures}"

    def _call(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            began = time.monotonic()
            self.statuses[self._ask()] += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_SECONDS):
            self.grown = max(self.grown, resident_bytes(self._pid) - self._resident)


class HttpCaller:
    """Calls over one kept-alive connection, opened again where it broke."""

    def __init__(self, port: int, path: str = IDENTITY, body: bytes | None = SMALL, **fields: str) -> None:
        self._path, self._body, self._fields = path, body, fields
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __call__(self) -> int:
        fields = {name.replace("_", "-"): value for name, value in self._fields.items()}
        try:
            self._connection.request("POST" if self._body else "GET", self._path, self._body, fields)
            reply = self._connection.getresponse()
            reply.read()
            return reply.status
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0


class Crowd:
    """Callers in a closed loop, each in a thread of its own."""

    def __init__(self, caller: Callable[[], Callable[[], int]], count: int) -> None:
        self.statuses: Counter[int] = Counter()
        self._stopping = threading.Event()
        self._began = self._seconds = 0.0
        self._threads = [threading.Thread(target=self._call, args=(caller(),)) for _ in range(count)]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._seconds = time.monotonic() - self._began

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.statuses[200] / self._seconds

    def _call(self, ask: Callable[[], int]) -> None:
        while not self._stopping.is_set():
            self.statuses[ask()] += 1


def resident_bytes(pid: int) -> int:
    """0 where the process has gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    return 0


# HTTP/2

_FIELDS = (
    (":method", "POST"), (":scheme", "http"), (":path", "/inference.GRPCInferenceService/ModelInfer"),
    (":authority", "localhost"), ("te", "trailers"), ("content-type", "application/grpc"),
)  # fmt: skip


def grpc_head(*further: tuple[str, str]) -> bytes:
    """A header block that leaves the table as it is, so that it can be sent again."""
    writer = HeaderWriter()
    writer.limit(0)
    return writer.block((*_FIELDS, *further))


def begun(port: int, seconds: float = 10.0) -> socket.socket:
    """An HTTP/2 connection after the client's preface."""
    connection = connected(port, seconds)
    connection.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
    return connection


def flooded(port: int, blocks: Iterable[bytes], seconds: float) -> float | None:
    """Send as fast as it is taken and read what comes; after how many seconds the other side ended it, None: it did not."""
    began = time.monotonic()
    with begun(port) as connection:
        connection.setblocking(False)
        unsent = b""
        source = iter(blocks)
        while time.monotonic() < began + seconds:
            unsent = unsent or next(source, b"")
            idle = True
            try:
                if unsent:
                    unsent = unsent[connection.send(unsent) :]
                    idle = False
            except BlockingIOError:
                pass
            except OSError:
                return time.monotonic() - began
            try:
                if not connection.recv(1 << 18):
                    return time.monotonic() - began
            except BlockingIOError:
                if idle:
                    time.sleep(0.001)
            except OSError:
                return time.monotonic() - began
    return None
