"""What is asked of both services: cases of rows, and each row as a gRPC message and as an HTTP request."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from crossover.comparison.load.http1 import BrokenConnectionError
from crossover.comparison.load.shared import Shared
from crossover.comparison.pair import sides, template
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.exchange import Expected, Rules, grpc_answer, rest_answer
from crossover.comparison.pair.same import is_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.load import http1, http2
    from crossover.comparison.pair.schema import Method
    from crossover.comparison.pair.sides import GrpcSide, RestSide
    from crossover.comparison.pair.template import Row


_MIXED = 1000
"""About so many entries stand for a mix of cases."""


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of request."""

    name: str
    """Empty where a pair has only one kind."""
    weight: float
    grpc_data: str
    """JSON template of the message."""
    rest_data: str | bytes | None
    """JSON template of the body, a whole body, or no body."""
    rest_target: str
    rows: tuple[Row, ...]


@dataclass(slots=True)
class Variants:
    """A case's requests, ready to be sent, and once they have been asked the answers to them."""

    grpc: Shared[bytes] = field(default_factory=Shared)
    rest: Shared[bytes] = field(default_factory=Shared)
    grpc_texts: Shared[bytes] = field(default_factory=Shared)
    rest_texts: Shared[bytes] = field(default_factory=Shared)
    """JSON of each request; empty where there is none."""
    expected: Shared[Expected] = field(default_factory=Shared)

    def __len__(self) -> int:
        return len(self.grpc)

    def extend(self, other: Variants, times: int) -> None:
        """The other's requests too, each so many times: requests are drawn evenly, so that is their weight."""
        for name in ("grpc", "rest", "grpc_texts", "rest_texts", "expected"):
            getattr(self, name).extend(getattr(other, name) * times)

    @property
    def payload_bytes(self) -> int:
        """Bytes of the larger of a row's two gRPC messages, request and reply; the median over the rows."""
        sizes = [
            max(len(sent) - sides.GRPC_HEAD, len(expected.grpc.message or b""))
            for sent, expected in zip(self.grpc, self.expected, strict=True)
        ]
        return round(statistics.median(sizes))

    @property
    def message_bytes(self) -> tuple[int, int]:
        """Bytes of request and reply together, over gRPC and over HTTP, without what these put around them."""
        grpc = [
            len(sent) - sides.GRPC_HEAD + len(expected.grpc.message or b"")
            for sent, expected in zip(self.grpc, self.expected, strict=True)
        ]
        rest = [
            len(sent) - sent.index(b"\r\n\r\n") - 4 + len(expected.rest.body)
            for sent, expected in zip(self.rest, self.expected, strict=True)
        ]
        return round(statistics.mean(grpc)), round(statistics.mean(rest))


def made(case: Case, method: Method, rest: RestSide) -> Variants:
    """A case's requests; PairError for a row that does not fit."""
    found = Variants()
    for number, row in enumerate(case.rows, 1):
        where = f" (row {number})" if len(case.rows) > 1 else ""
        text = template.in_json(case.grpc_data, row, f"--grpc-data{where}")
        message = method.request(text, f"--grpc-data{where}")
        found.grpc.append(sides.framed(method.encoded(message, f"--grpc-data{where}")))
        found.grpc_texts.append(text.encode())
        body = _body(case.rest_data, row, f"--rest-data{where}")
        target = template.in_url(case.rest_target, row, f"--rest{where}")
        found.rest.append(rest.encoded(_checked_target(target), body))
        found.rest_texts.append(
            body if body is not None and isinstance(case.rest_data, str) and _is_json(body) else b""
        )
    return found


def _body(given: str | bytes | None, row: Row, where: str) -> bytes | None:
    return template.in_json(given, row, where).encode() if isinstance(given, str) else given


def _is_json(body: bytes) -> bool:
    from crossover.comparison.pair.same import RestAnswer

    return bool(body) and is_json(RestAnswer(200, body))


def _checked_target(target: str) -> str:
    if not target.isascii() or any(letter <= " " for letter in target):
        raise PairError(f"--rest: the path '{target}' holds letters that a URL has percent-encoded")
    return target


@dataclass(slots=True)
class Seen:
    """One row's two replies as they came, for whoever wants to see or to judge them."""

    grpc: http2.Reply
    rest: http1.Reply


class Asker:
    """Asks both services, one call at a time, on one connection each."""

    def __init__(self, grpc: GrpcSide, rest: RestSide, rules: Rules, method: Method) -> None:
        self._grpc, self._rest, self._rules, self._method = grpc, rest, rules, method
        self._over_grpc: http2.Connection | None = None
        self._over_rest: http1.Connection | None = None
        self.closes = {"grpc": False, "rest": False}
        """Whether a side ended a connection with its reply."""
        self.most_streams: int | None = None
        """Calls that the gRPC service takes at a time on a connection; None: it named no number."""

    def ask(self, over_grpc: bytes, over_rest: bytes) -> Seen:
        """Both replies to one row; PairError when one does not come."""
        seen = Seen(self._ask_grpc(over_grpc), self._ask_rest(over_rest))
        assert self._over_grpc is not None
        assert self._over_rest is not None
        self.closes["grpc"] |= not self._over_grpc.reusable
        self.closes["rest"] |= not self._over_rest.reusable
        self.most_streams = self._over_grpc.most_streams
        return seen

    def _ask_grpc(self, data: bytes) -> http2.Reply:
        where = f"the gRPC service at {self._grpc.address}"
        try:
            if self._over_grpc is None or not self._over_grpc.reusable:
                self._drop_grpc()
                self._over_grpc = self._grpc.connect(self._rules.schema.path)
            reply: http2.Reply = sides.answered(self._over_grpc, data, self._grpc.timeout)
            assert reply.fields is not None  # read now: header blocks are read in the order in which they came
        except OSError as error:
            raise PairError(f"{where} does not answer {self._rules.schema.path}: {sides.reason(error)}") from None
        return reply

    def _ask_rest(self, data: bytes) -> http1.Reply:
        used = self._over_rest is not None and self._over_rest.reusable
        try:
            return self._ask_rest_once(data)
        except OSError as error:
            self._drop_rest()
            if used and isinstance(error, BrokenConnectionError | ConnectionError):
                return self._ask_rest(data)  # the service had closed a connection that rested
            where = f"the HTTP service at {self._rest.address}"
            raise PairError(f"{where} does not answer: {sides.reason(error)}") from None

    def _ask_rest_once(self, data: bytes) -> http1.Reply:
        if self._over_rest is None or not self._over_rest.reusable:
            self._drop_rest()
            self._over_rest = self._rest.connect()
        reply: http1.Reply = sides.answered(self._over_rest, data, self._rest.timeout)
        return reply

    def judged(self, seen: Seen) -> tuple[Expected, list[str]]:
        """Both answers, and what is wrong with them or between them."""
        grpc, rest = grpc_answer(seen.grpc, whole=self._rules.schema.stream), rest_answer(seen.rest)
        said = [text for text in (self._rules.wrong_grpc(grpc), self._rules.wrong_rest(rest)) if text]
        return Expected(grpc, rest), said or self._rules.same.differences(self._method, grpc, rest)

    def close(self) -> None:
        self._drop_grpc()
        self._drop_rest()

    def _drop_grpc(self) -> None:
        if self._over_grpc is not None:
            self._over_grpc.close()
            self._over_grpc = None

    def _drop_rest(self) -> None:
        if self._over_rest is not None:
            self._over_rest.close()
            self._over_rest = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def answered(variants: Variants, asker: Asker, name: str) -> Seen:
    """Ask for every row of a case and keep the answers; the first row's replies. PairError for a row that differs."""
    variants.expected.clear()
    first: Seen | None = None
    for number, (over_grpc, over_rest) in enumerate(zip(variants.grpc, variants.rest, strict=True), 1):
        seen = asker.ask(over_grpc, over_rest)
        expected, wrong = asker.judged(seen)
        if wrong:
            where = " of ".join(
                filter(None, (f"row {number}" if len(variants) > 1 else "", f"case '{name}'" * bool(name)))
            )
            raise PairError(
                f"the two services do not answer alike{' in ' + where if where else ''}: {'; '.join(wrong)}"
            )
        variants.expected.append(expected)
        first = first or seen
    assert first is not None
    return first


def mixed(cases: Sequence[Case], variants: Sequence[Variants]) -> Variants:
    """All cases' requests together, in numbers that give each case its weight."""
    found = Variants()
    total = sum(case.weight for case in cases)
    for case, of_case in zip(cases, variants, strict=True):
        found.extend(of_case, max(1, round(_MIXED * case.weight / total / len(of_case))))
    return found
