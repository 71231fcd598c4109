"""The load of a pair: the same loop and the same care for both sides.

Request bytes are made before time counts and replies are judged after it. `grpc-client` and `rest-client` do what a
client does beside: they encode each request and decode each reply within its time. The known delay is a busy wait
before a request leaves: it stands in the client's path, since the services' insides are not ours.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from crossover.comparison.design import outcomes as out
from crossover.comparison.load.drive import Driver as Loop
from crossover.comparison.pair import sides, stream
from crossover.comparison.pair.errors import readable
from crossover.comparison.pair.forms import FORMS
from crossover.comparison.pair.same import GrpcAnswer, RestAnswer, Same
from crossover.comparison.pair.schema import Method, Schema

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from crossover.comparison.design.schedule import Schedule
    from crossover.comparison.load import http1, http2
    from crossover.comparison.load.drive import Connection, Load
    from crossover.comparison.load.shared import Shared
    from crossover.comparison.pair.sides import GrpcSide, RestSide

GRPC, REST = "grpc", "rest"


@dataclass(frozen=True, slots=True)
class Expected:
    """The two answers to a row, as they were given before measuring: each side is judged against the other's."""

    grpc: GrpcAnswer
    rest: RestAnswer


@dataclass(frozen=True, slots=True)
class Rules:
    """When an answer is right."""

    schema: Schema
    same: Same
    code: str
    status: int | None
    """What HTTP must answer; None: any 2xx."""

    def wrong_grpc(self, answer: GrpcAnswer) -> str:
        """Why the answer's code is not the expected one; empty when it is."""
        if answer.code == self.code:
            return ""
        return f"gRPC answered {answer.code}{': ' + readable(answer.text) if answer.text else ''} (--expect-code {self.code})"

    def wrong_rest(self, answer: RestAnswer) -> str:
        """Likewise for the status."""
        if answer.status == self.status or (self.status is None and 200 <= answer.status < 300):
            return ""
        said = readable(answer.body)
        wanted = "2xx" if self.status is None else str(self.status)
        return f"HTTP answered {answer.status}{': ' + said if said else ''} (--expect-status {wanted})"


@dataclass(slots=True)
class Exchange:
    """What a slice of one arm sends and expects."""

    side: str
    """`grpc` or `rest`."""
    grpc: GrpcSide
    rest: RestSide
    requests: Shared[bytes]
    """By variant: the framed message, or the whole HTTP request."""
    texts: Shared[bytes]
    """By variant the JSON of the request, for the arms that encode; empty where there is no body."""
    expected: Shared[Expected]
    rules: Rules
    schedule: Schedule
    concurrency: int
    coded: bool = False
    """Each request is encoded and each reply decoded within its time."""
    delay_ns: int = 0
    stages: bool = False
    form: str = ""
    """Another way to ask (forms.py); empty for that of its side."""

    @property
    def streams(self) -> bool:
        return self.rules.schema.stream

    @property
    def pool(self) -> Hashable:
        return self.side, self.form, self.grpc if self.side == GRPC else self.rest

    @property
    def patience_ns(self) -> int:
        return round(self.grpc.timeout * 1e9)

    @property
    def opens_beforehand(self) -> bool:
        """Whether connections are opened before time counts: not where opening them is what is measured."""
        return not (self.form and FORMS[self.form].is_opened_anew)

    def connect(self) -> Connection:
        if self.form:
            return FORMS[self.form].connect(self.grpc, self.rest, self.grpc.timeout)
        if self.side == GRPC:
            return self.grpc.connect(self.rules.schema.path)
        return self.rest.connect()

    def talk(self) -> Talk:
        found: Talk = GrpcTalk(self) if self.side == GRPC else RestTalk(self)
        if self.form:
            found.prepared = {variant: self.formed(variant) for variant in set(self.schedule.variants.tolist())}
        return found

    def formed(self, variant: int) -> Any:
        """A request in the arm's own form."""
        return FORMS[self.form].request(self.grpc, self.rest, self.rules.schema.path, self.requests[variant])


@dataclass(slots=True)
class Talk:
    """What is done for each request and reply."""

    work: Exchange
    complaint: str = ""
    deferred: bool = True
    spent_ns: int = 0
    prepared: dict[int, Any] = field(default_factory=dict)
    """By variant, requests in a form of their own."""
    _known: dict[int, set[bytes]] = field(default_factory=dict)
    """By variant, replies that were judged and found right."""

    def request(self, variant: int) -> Any:
        if self.work.delay_ns:
            until = time.monotonic_ns() + self.work.delay_ns
            while time.monotonic_ns() < until:
                pass
        if not self.work.coded:
            return self.prepared[variant] if self.work.form else self.work.requests[variant]
        began = time.thread_time_ns()
        made = self.encoded(variant)
        self.spent_ns += time.thread_time_ns() - began
        return made

    def arrived(self, reply: Any) -> None:
        if self.work.coded:
            began = time.thread_time_ns()
            with contextlib.suppress(ValueError, RecursionError, DecodeError):  # its outcome says that it is wrong
                self.decode(reply)
            self.spent_ns += time.thread_time_ns() - began

    def outcome(self, reply: Any, variant: int) -> int:
        body = bytes(reply.body)
        wrong = self.refused(reply)
        if wrong:
            return self._complain(out.ERROR, wrong)
        known = self._known.setdefault(variant, set())
        if body in known:
            return out.OK
        said = self.differences(reply, variant)
        if said:
            return self._complain(out.WRONG, said[0])
        if len(known) < 8:
            known.add(body)
        return out.OK

    def _complain(self, outcome: int, text: str) -> int:
        self.complaint = self.complaint or text
        return outcome

    def encoded(self, variant: int) -> bytes:
        raise NotImplementedError

    def decode(self, reply: Any) -> None:
        raise NotImplementedError

    def refused(self, reply: Any) -> str:
        """Why the reply's code or status is not the expected one."""
        raise NotImplementedError

    def differences(self, reply: Any, variant: int) -> list[str]:
        raise NotImplementedError

    def progress(self, reply: Any, marks: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
        return stream.progress(self.pieces(reply), marks, reply.received)

    def pieces(self, reply: Any) -> stream.Pieces:
        """The messages of a reply that is a stream."""
        raise NotImplementedError

    @property
    def method(self) -> Method:
        return _method(self.work.rules.schema)


class GrpcTalk(Talk):
    """Unary calls."""

    __slots__ = ()

    def encoded(self, variant: int) -> bytes:
        """What a stub does: a message from values, and its bytes."""
        document = _document(self.work.texts[variant])
        message = _filled(self.method, document)
        return sides.framed(message.SerializeToString())

    def decode(self, reply: http2.Reply) -> None:
        if self.work.streams:
            for message, _ in self.pieces(reply):
                self.method.reply_type.FromString(message)
        elif len(reply.body) > sides.GRPC_HEAD:
            self.method.reply_type.FromString(reply.body[sides.GRPC_HEAD :])

    def refused(self, reply: http2.Reply | http1.Reply) -> str:
        return self.work.rules.wrong_grpc(self.answer(reply))

    def differences(self, reply: http2.Reply | http1.Reply, variant: int) -> list[str]:
        return self.work.rules.same.differences(self.method, self.answer(reply), self.work.expected[variant].rest)

    def answer(self, reply: Any) -> GrpcAnswer:
        form = FORMS.get(self.work.form)
        return form.answer(reply) if form and form.answer else grpc_answer(reply, whole=self.work.streams)

    def pieces(self, reply: http2.Reply) -> stream.Pieces:
        return stream.of_grpc(reply.body)


class RestTalk(Talk):
    """HTTP requests."""

    __slots__ = ()

    def encoded(self, variant: int) -> bytes:
        """What an HTTP client does: JSON from values behind a head that is made anew only in its length."""
        head = self.work.requests[variant]
        text = self.work.texts[variant]
        if not text:
            return head
        body = json.dumps(_document(text), ensure_ascii=False, separators=(",", ":")).encode()
        return _with_body(head, body)

    def decode(self, reply: http1.Reply) -> None:
        if self.work.streams:
            for message, _ in self.pieces(reply):
                json.loads(message)
        elif reply.body:
            json.loads(bytes(reply.body))

    def refused(self, reply: http1.Reply | http2.Reply) -> str:
        return self.work.rules.wrong_rest(rest_answer(reply))

    def differences(self, reply: http1.Reply | http2.Reply, variant: int) -> list[str]:
        return self.work.rules.same.differences(self.method, self.work.expected[variant].grpc, rest_answer(reply))

    def pieces(self, reply: http1.Reply | http2.Reply) -> stream.Pieces:
        return stream.of_rest(bytes(reply.body), reply.header(b"content-type") or "")


def grpc_answer(reply: http2.Reply, *, whole: bool) -> GrpcAnswer:
    """The reply's message; with `whole` all messages of a stream, as they came."""
    read = sides.grpc_reply(reply)
    if read.code != "OK":
        return GrpcAnswer(read.code, read.text, None)
    if whole:
        return GrpcAnswer(read.code, read.text, reply.body)
    return GrpcAnswer(read.code, read.text, read.messages[0] if read.messages else None)


def rest_answer(reply: http1.Reply | http2.Reply) -> RestAnswer:
    return RestAnswer(
        reply.status,
        bytes(reply.body),
        reply.header(b"content-type") or "",
        reply.header(b"inference-header-content-length"),
    )


@functools.lru_cache(4)
def _method(schema: Schema) -> Method:
    return Method(schema)


@functools.lru_cache(4096)
def _document(text: bytes) -> Any:
    """The values of a request, as a program has them before it encodes."""
    return json.loads(text) if text else {}


def _filled(method: Method, document: Any) -> Any:
    from google.protobuf import json_format

    if isinstance(document, dict):
        try:
            return method.request_type(**document)
        except (TypeError, ValueError):
            pass  # names or values that only JSON has: camelCase, base64, int64 as text
    return json_format.ParseDict(document, method.request_type())


def _with_body(request: bytes, body: bytes) -> bytes:
    head = request[: request.index(b"\r\n\r\n") + 4]
    at = head.index(b"\r\ncontent-length: ") + len(b"\r\ncontent-length: ")
    return head[:at] + str(len(body)).encode() + head[head.index(b"\r\n", at) :] + body


class Driver(Loop):
    """The loop, with every connection opened before a slice begins: neither side's first calls pay for theirs."""

    def _opened(self, work: Load, idle: list[Connection]) -> None:
        import select

        if isinstance(work, Exchange) and not work.opens_beforehand:
            return
        with contextlib.suppress(OSError):  # the slice says what is wrong, for the request that finds none free
            while len(idle) < work.concurrency:
                connection = work.connect()
                self._poll.register(connection.fd, select.EPOLLIN)
                idle.append(connection)
