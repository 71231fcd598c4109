"""What strangers may make an HTTP/1.1 port hold, and for how long: tried on the gateway's and on the model server's."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import itertools
import re
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from crossover.comparison.torture import attack
from crossover.comparison.torture.attack import HttpCaller, Neighbour, head, pieces, post
from crossover.comparison.torture.promise import Figure, Promise

if TYPE_CHECKING:
    from crossover.comparison.torture.ground import Ground
    from crossover.stack.services import ServiceProcess

OTHERS_SECONDS = 1.0
"""What an ordinary caller may wait beside an attack, on a busy machine too."""
_ATTACK_SECONDS, _BRIEF_SECONDS = 1.0, 0.25
"""How long a refusal is provoked again and again; and while a guard is off, which shows at once."""
_MIB = 1 << 20
SETTINGS = {
    "HEAD_SECONDS": "1.5", "BODY_SECONDS": "1.5", "WRITE_SECONDS": "2", "MAX_CONNECTIONS": "300",
    "MAX_IN_FLIGHT_BYTES": str(256 * _MIB),
}  # fmt: skip
_GRACE_SECONDS = 1.5
"""Beyond a time limit, for the looks that find it and a busy machine."""


def _on_both(
    ground: Ground, trial: Callable[[int, ServiceProcess], tuple[bool, float, str]], at_once: int = 1
) -> Figure:
    """The trial on each port; kept where it is on both. A trial gives whether it was kept, a number, and words.

    `at_once`: 2 for a trial that waits more than it works.
    """
    with ThreadPoolExecutor(at_once) as pool:
        found = dict(
            zip(ground.http_ports, pool.map(trial, *zip(*ground.http_ports.values(), strict=True)), strict=True)
        )
    missed = [name for name, (kept, _, _) in found.items() if not kept]
    told = missed[0] if missed else max(found, key=lambda name: found[name][1])
    return Figure(not missed, f"{found[told][2]} ({told})", {name: number for name, (_, number, _) in found.items()})


def _refused(status: int, request: Callable[[], Iterable[bytes]], ground: Ground) -> Figure:
    """The request is refused with this status, and nobody else notices."""
    seconds = _BRIEF_SECONDS if ground.is_brief else _ATTACK_SECONDS

    def trial(port: int, service: ServiceProcess) -> tuple[bool, float, str]:
        with Neighbour(HttpCaller(port), service.pid) as others:
            until, found = time.monotonic() + seconds, status
            while found == status and time.monotonic() < until:
                found = attack.answered(port, request())
        kept = found == status and not others.failed and others.longest < OTHERS_SECONDS
        return kept and others.grown < 64 * _MIB, others.longest, f"{found or 'no answer'}; {others.text}"

    return _on_both(ground, trial)


def _large_head() -> Iterator[bytes]:
    yield b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-Large: "
    yield from pieces(70 * _MIB)
    yield b"\r\n\r\n"


def _many_fields() -> Iterator[bytes]:
    yield head("GET", "/v2", *(f"X-{number}: 1" for number in range(1000)))


def _long_target() -> Iterator[bytes]:
    yield head("GET", "/v2/models/" + "a" * (32 << 10))


def _large_trailers() -> Iterator[bytes]:
    yield head("POST", attack.IDENTITY, "Transfer-Encoding: chunked")
    yield b"%x\r\n%b\r\n0\r\n" % (len(attack.SMALL), attack.SMALL)
    yield b"X-Trailer: "
    yield from pieces(8 * _MIB)
    yield b"\r\n\r\n"


def _timed(limit: str, first: bytes, drip: bytes, ground: Ground) -> Figure:
    """Bytes that drip are answered 408 when the setting's time is over."""
    seconds = ground.setting(limit)

    def trial(port: int, _: ServiceProcess) -> tuple[bool, float, str]:
        began = time.monotonic()

        def dripping() -> Iterator[bytes]:
            yield first
            for _ in range(30):
                time.sleep(0.15)
                yield drip

        status = attack.answered(port, dripping(), seconds + _GRACE_SECONDS)
        taken = time.monotonic() - began
        return status == 408, taken, f"{status or 'no answer'} after {taken:.1f} s"

    return _on_both(ground, trial, at_once=2)


_SIZED = b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":[1]},{"name":"size","datatype":"INT64","shape":[1],"data":[%d]}],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}'  # noqa: E501


def _unread_replies(ground: Ground) -> Figure:
    """Replies that nobody reads: their connections are cut off, and what they hold meanwhile is bounded."""
    seconds = ground.setting("WRITE_SECONDS")
    request = post(_SIZED % (16 * _MIB), "/v2/models/sized/infer")

    def trial(port: int, service: ServiceProcess) -> tuple[bool, float, str]:
        with (
            Neighbour(HttpCaller(port, "/v2/health/live", None), service.pid) as others,
            contextlib.ExitStack() as kept,
        ):
            connections = [kept.enter_context(attack.connected(port)) for _ in range(60)]
            for connection in connections:
                connection.sendall(request)
            since: dict[socket.socket, float] = {}
            longest = 0.0
            quiet = time.monotonic()
            while quiet + 1.5 > time.monotonic() and longest < seconds + _GRACE_SECONDS:
                time.sleep(0.1)
                now = time.monotonic()
                since = {one: since.get(one, now) for one in connections if _is_stalled(one)}
                if since:
                    quiet = now
                    longest = max(longest, now - min(since.values()))
        held = others.grown / _MIB
        good = 0 < longest < seconds + _GRACE_SECONDS and held < 768
        text = f"held for {longest:.1f} s, +{held:.0f} MiB; {others.text}"
        return good and not others.failed and others.longest < OTHERS_SECONDS, longest, text

    return _on_both(ground, trial)


def _is_stalled(connection: socket.socket) -> bool:
    """Whether much has come that we have not read, and the other side still has the connection (1: TCP_ESTABLISHED)."""
    try:
        waiting = struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, bytes(4)))[0]
        return waiting > 64 << 10 and connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1
    except OSError:
        return False


def _pipelining(ground: Ground) -> Figure:
    """Six thousand requests of 15 KB on one connection whose replies nobody reads: little of it is taken."""
    values = ",".join(["1.5"] * 3_600)
    body = f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,3600],"data":[{values}]}}]}}'.encode()
    request = post(body)

    def trial(port: int, service: ServiceProcess) -> tuple[bool, float, str]:
        with Neighbour(HttpCaller(port), service.pid) as others, attack.connected(port) as connection:
            connection.setblocking(False)
            unsent = b""
            stalled = time.monotonic()
            requests = itertools.repeat(request, 6000)
            while time.monotonic() < stalled + 0.7:
                unsent = unsent or next(requests, b"")
                if not unsent:
                    break
                try:
                    unsent = unsent[connection.send(unsent) :]
                    stalled = time.monotonic()
                except BlockingIOError:
                    time.sleep(0.005)
                except OSError:
                    break
            time.sleep(0.3)
        held = others.grown / _MIB
        return held < 32 and not others.failed, held, f"+{held:.0f} MiB; {others.text}"

    return _on_both(ground, trial)


def _connections(ground: Ground) -> Figure:
    """Connections beyond the limit are answered 503, and those that are there are served."""
    most = int(ground.setting("MAX_CONNECTIONS"))

    def trial(port: int, service: ServiceProcess) -> tuple[bool, float, str]:
        with Neighbour(HttpCaller(port), service.pid) as others, contextlib.ExitStack() as kept:
            for _ in range(most + 20):
                kept.enter_context(attack.connected(port))
            status = attack.answered(port, [head("GET", "/v2/health/live")], 5)
        good = status == 503 and not others.failed and others.longest < OTHERS_SECONDS
        return good, others.longest, f"{status or 'no answer'} beyond {most}; {others.text}"

    return _on_both(ground, trial)


_ROW = b'{"inputs":[{"name":"x","datatype":"%b","shape":[1],"data":['
HOSTILE: dict[str, tuple[bytes, ...]] = {
    "unclosed lists": (b'{"inputs":[', b'"data":[1,'),
    "lists in lists": (_ROW % b"FP32", b"[" * 10),
    "empty lists": (_ROW % b"FP32", b"[],"),
    "empty texts": (_ROW % b"BYTES", b'"",'),
    "blanks": (_ROW % b"FP32", b"[ 1 ]  ,"),
    "braces for brackets": (_ROW % b"FP32", b"[1},"),
    "inputs": (b'{"inputs":[', b"{},"),
    "parameters": (b'{"parameters":{', b'"a":1,'),
    "escapes": (_ROW % b"BYTES", b'"\\u0041",'),
    "long numbers": (_ROW % b"FP32", b"1" * 400 + b","),
    "numbers": (_ROW % b"FP32", b"0.123456789,"),
    "numbers and an end that is none": (_ROW % b"FP32", b"0.5,", b'"a"]}]}'),
    "text and an end that is none": (_ROW % b"BYTES", b'"abcdef",', b"1]}]}"),
    "integers and a fraction": (_ROW % b"INT8", b"1,", b"1.5]}]}"),
    "too many arrays": (b'{"inputs":[', b'{"data":[1.25,2.5,3.75]},', b"{}]}"),
    "much beside the data": (b'{"inputs":[],"x":[', b'["a",{}],', b"0]}"),
}
"""What hostile bodies begin with, what they repeat, and how they end: open, or after more than a parser should read twice."""
_LARGE, _SMALL = 16 * _MIB, 4 * _MIB


def _hostile_json(ground: Ground) -> Figure:
    """Each hostile shape is refused in time that is linear in its size, beside the event loop, and others are served meanwhile."""

    def trial(port: int, service: ServiceProcess) -> tuple[bool, float, str]:
        longest = (0.0, "")
        steepest = (0.0, "")
        before = _long_turns(port)
        for shape, (first, again, *end) in HOSTILE.items():
            last = b"".join(end)
            seconds = {}
            with Neighbour(HttpCaller(port), service.pid) as others:
                for size in (_SMALL, _LARGE):
                    body = first + again * ((size - len(first) - len(last)) // len(again)) + last
                    began = time.monotonic()
                    attack.answered(port, [post(body)], 20)
                    seconds[size] = time.monotonic() - began
            longest = max(longest, (others.longest, shape))
            steepest = max(steepest, (seconds[_LARGE] / max(seconds[_SMALL], 0.1), shape))
        turns = _long_turns(port) - before
        text = (
            f"others waited {longest[0]:.2f} s at most ({longest[1]}); 4 times the bytes took {steepest[0]:.1f} "
            f"times as long at most ({steepest[1]}); {turns:.0f} long turns of the loop"
        )
        kept = longest[0] < _JSON_OTHERS_SECONDS and steepest[0] < 10 and turns <= _MOST_LONG_TURNS
        return kept, longest[0], text

    return _on_both(ground, trial)


def _long_turns(port: int) -> float:
    """Turns of the service's event loop with more than 20 ms of CPU, since its start."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    found = re.search(r"^crossover_event_loop_long_turns_total (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else float("inf")


_JSON_OTHERS_SECONDS = 0.5
_MOST_LONG_TURNS = len(HOSTILE) // 3
"""Other work of a busy machine's loop makes one now and then; bodies that are read on the loop make one each."""


def _memory_in_flight(ground: Ground) -> Figure:
    """Large bodies that never become whole: beyond the limit they are refused with 429, and afterwards all is served."""
    size = 32 * _MIB

    def trial(port: int, service: ServiceProcess) -> tuple[bool, float, str]:
        before = attack.resident_bytes(service.pid)
        statuses: list[int] = []
        stop = threading.Event()

        def send() -> None:
            def body() -> Iterator[bytes]:
                yield head("POST", attack.IDENTITY, f"Content-Length: {size}", "Content-Type: application/octet-stream")
                yield from pieces(size - _MIB)
                stop.wait(8)

            statuses.append(attack.answered(port, body(), 10))

        threads = [threading.Thread(target=send) for _ in range(16)]
        for thread in threads:
            thread.start()
        peak, until = 0, time.monotonic() + 2.5
        while time.monotonic() < until and len(statuses) < len(threads):
            peak = max(peak, attack.resident_bytes(service.pid) - before)
            time.sleep(0.02)
        stop.set()
        for thread in threads:
            thread.join()
        after, _ = _first(port)
        refused = statuses.count(429)
        text = f"{refused} of 16 bodies of 32 MiB got 429, +{peak / _MIB:.0f} MiB, then {after}"
        return refused >= 6 and peak < 400 * _MIB and after == 200, peak / _MIB, text

    return _on_both(ground, trial, at_once=2)


def _first(port: int) -> tuple[int, float]:
    began = time.monotonic()
    return HttpCaller(port)(), time.monotonic() - began


_POST_BEGUN = head("POST", attack.IDENTITY, "Content-Length: 1000") + b"{"
PROMISES = (
    Promise("http.heads", f"a head of 70 MiB: 431, others within {OTHERS_SECONDS:g} s", partial(_refused, 431, _large_head)),
    Promise("http.fields", "1000 header fields: 431, others likewise", partial(_refused, 431, _many_fields)),
    Promise("http.targets", "a URL of 32 KiB: 414, others likewise", partial(_refused, 414, _long_target)),
    Promise("http.trailers", "trailers of 8 MiB: 431, others likewise", partial(_refused, 431, _large_trailers)),
    Promise(
        "http.slow-heads", "a head that drips: 408 when HEAD_SECONDS are over",
        partial(_timed, "HEAD_SECONDS", b"GET /v2 HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b"a"),
    ),
    Promise(
        "http.slow-bodies", "a body that drips: 408 when BODY_SECONDS are over",
        partial(_timed, "BODY_SECONDS", _POST_BEGUN, b" "),
    ),
    Promise("http.unread-replies", "60 unread replies of 16 MiB: cut off after WRITE_SECONDS, below +768 MiB", _unread_replies),
    Promise("http.pipelining", "6000 pipelined requests, replies unread: below +32 MiB", _pipelining),
    Promise("http.connections", "connections beyond MAX_CONNECTIONS: 503, the others served", _connections),
    Promise(
        "http.hostile-json",
        f"{len(HOSTILE)} hostile bodies of 16 MiB: others within {_JSON_OTHERS_SECONDS:g} s, time linear, "
        f"{_MOST_LONG_TURNS} turns of the loop at most with more than 20 ms of CPU",
        _hostile_json,
    ),
    Promise("http.memory-in-flight", "512 MiB of bodies under a limit of 256 MiB: 429, below +400 MiB", _memory_in_flight),
)  # fmt: skip
