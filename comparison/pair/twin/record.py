"""Records what one service answers: calls that are safe, or that were explicitly allowed, one at a time."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison.load.sockets import opened
from crossover.comparison.options import UsageError
from crossover.comparison.pair import documents, options, same, schema, sides, template
from crossover.comparison.pair.errors import PairError, readable
from crossover.comparison.pair.exchange import rest_answer
from crossover.comparison.pair.twin.recording import Recorded, Route, as_message

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from crossover.comparison.load.sockets import Address

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110, 9.2.1."""
_ASKS, _MOST_CALLS, _CONNECTS = 7, 400, 3
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
ALLOW = "--allow-unsafe"


def rows_of(given: argparse.Namespace) -> list[template.Row]:
    return template.rows(Path(given.data))[: template.MOST_ROWS] if given.data else [{}]


def _asks(safe: bool, rows: int) -> int:
    """How often each row is asked; what may change something, once."""
    return max(1, min(_ASKS, _MOST_CALLS // rows)) if safe else 1


def _round_trip_ms(address: Address) -> float:
    """The shortest time in which a TCP connection opened: one round trip of the network."""
    found = []
    for _ in range(_CONNECTS):
        began = time.perf_counter()
        opened(replace(address, tls=None)).close()
        found.append(time.perf_counter() - began)
    return 1000 * min(found)


class _Line:
    """One connection at a time, opened before a call's time counts."""

    def __init__(self, connect: Callable[[], Any], timeout: float, where: str) -> None:
        self._connect, self._timeout, self._where = connect, timeout, where
        self._connection: Any = None

    def ask(self, data: bytes) -> tuple[Any, float]:
        """The reply and how long it took, ms."""
        try:
            if self._connection is None or not self._connection.reusable:
                self.close()
                self._connection = self._connect()
            began = time.perf_counter()
            reply = sides.answered(self._connection, data, self._timeout)
            took = 1000 * (time.perf_counter() - began)
            if hasattr(reply, "fields"):
                assert reply.fields is not None  # header blocks are read in the order in which they came
        except OSError as error:
            self.close()
            raise PairError(f"{self._where} does not answer: {sides.reason(error)}") from None
        return reply, took

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def from_rest(given: argparse.Namespace) -> tuple[Route, list[Recorded]]:
    """What an HTTP endpoint answers to every row; PairError for what is no JSON or no success."""
    rows = rows_of(given)
    data = given.rest_data
    has_body = data is not None or bool(given.data and "{{" not in given.rest)
    side = sides.rest_side(
        given.rest, [*(given.header or []), *(given.rest_header or [])], options.tls_of(given),
        options.seconds_of(given.timeout), has_body=has_body, unix_socket=given.unix_socket,
    )  # fmt: skip
    safe = side.method in _SAFE
    if not safe and not given.allow_unsafe:
        raise UsageError(
            f"pair twin: {side.method} may change something at {side.address}; if it may be sent once for each row, say {ALLOW}"
        )
    if side.method == "HEAD":
        raise UsageError("pair twin: HEAD has no reply to replay; record the GET")
    has_body = data is not None or (side.method in _WITH_BODY and bool(given.data))
    places = template.places(side.target)
    line = _Line(side.connect, side.timeout, f"the HTTP service at {side.address}")
    found: list[Recorded] = []
    statuses: set[int] = set()
    try:
        round_trip = _round_trip_ms(side.address)
        for number, row in enumerate(rows, 1):
            where = f"row {number}"
            target = template.in_url(side.target, row, f"--rest ({where})")
            body = _body(data, row, where) if has_body else None
            sent = side.encoded(target, json.dumps(body, ensure_ascii=False).encode() if has_body else None)
            if safe and number == 1:
                line.ask(sent)  # connection and caches as they are later
            replies = [line.ask(sent) for _ in range(_asks(safe, len(rows)))]
            answer = rest_answer(replies[-1][0])
            statuses.add(answer.status)
            reply = _json_reply(answer, where)
            message = {place.replace(".", "_"): _at(row, place) for place in places} | as_message(body)
            times = tuple(took for _, took in replies)
            service = max(0.0, statistics.median(times) - round_trip)
            found.append(Recorded(row, message, target, body, reply, as_message(reply), times, service))
    except OSError as error:
        raise PairError(f"the HTTP service at {side.address} does not answer: {sides.reason(error)}") from None
    finally:
        line.close()
    if len(statuses) > 1:
        raise PairError(
            f"pair twin: rows are answered with HTTP {' and '.join(map(str, sorted(statuses)))}; record one"
        )
    return Route(side.method, side.target.partition("?")[0], statuses.pop(), has_body), found


def _body(data: str | None, row: template.Row, where: str) -> Any:
    """The JSON body: --rest-data filled, or the row itself."""
    if data is None:
        return row
    text = template.in_json(template.text_of(data, "--rest-data"), row, f"--rest-data ({where})")
    try:
        return documents.read(text)
    except ValueError as error:
        raise PairError(f"--rest-data ({where}) is not JSON: {error}; pair twin replays JSON") from None


def _json_reply(answer: same.RestAnswer, where: str) -> Any:
    if not 200 <= answer.status < 300:
        said = readable(answer.body)
        raise PairError(f"pair twin: {where} is answered with HTTP {answer.status}{': ' + said if said else ''}")
    if not answer.body:
        return None
    try:
        return documents.read(answer.body)
    except ValueError:
        kind = answer.content_type or "a body without a content type"
        raise PairError(f"pair twin: the reply to {where} is not JSON ({kind}); it replays JSON") from None


def _at(row: template.Row, place: str) -> Any:
    value: Any = row
    for part in [place] if place in row else place.split("."):
        value = value[part]
    return value


def from_grpc(given: argparse.Namespace) -> tuple[schema.Schema, Route, list[Recorded]]:
    """What a unary method answers to every row; PairError for a status other than OK."""
    if given.stream:
        raise UsageError("pair twin: --stream does not go with it; a twin replays single replies")
    rows = rows_of(given)
    side = sides.grpc_side(
        given.grpc, [*(given.header or []), *(given.grpc_header or [])], options.tls_of(given),
        options.seconds_of(given.timeout), given.servername,
    )  # fmt: skip
    described = options.schema_of(given, lambda: side)
    method = schema.Method(described)
    safe = _is_safe(method)
    if not safe and not given.allow_unsafe:
        raise UsageError(
            f"pair twin: {described.service}/{described.method} does not declare idempotency_level = NO_SIDE_EFFECTS; "
            f"if it may be called once for each row, say {ALLOW}"
        )
    route = Route("POST", f"/{described.service}/{described.method}", 200, has_body=True)
    line = _Line(lambda: side.connect(described.path), side.timeout, f"the gRPC service at {side.address}")
    found: list[Recorded] = []
    text = template.text_of(given.grpc_data or "{}", "--grpc-data")
    try:
        round_trip = _round_trip_ms(side.address)
        for number, row in enumerate(rows, 1):
            where = f"--grpc-data (row {number})"
            message = method.request(template.in_json(text, row, where), where)
            sent = sides.framed(method.encoded(message, where))
            if safe and number == 1:
                line.ask(sent)
            replies = [line.ask(sent) for _ in range(_asks(safe, len(rows)))]
            answer = sides.grpc_reply(replies[-1][0])
            if answer.code != "OK" or not answer.messages:
                raise PairError(f"pair twin: row {number} is answered with {answer.code}: {answer.text}")
            asked = method.as_json(message)
            reply = method.as_json(method.decoded(answer.messages[0]))
            times = tuple(took for _, took in replies)
            service = max(0.0, statistics.median(times) - round_trip)
            found.append(Recorded(row, asked, route.path, asked, reply, reply, times, service))
    except OSError as error:
        raise PairError(f"no connection to the gRPC service at {side.address}: {sides.reason(error)}") from None
    finally:
        line.close()
    return described, route, found


def _is_safe(method: schema.Method) -> bool:
    from google.protobuf.descriptor_pb2 import MethodOptions

    return bool(method.descriptor.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS)
