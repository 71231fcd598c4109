"""Streams in a pair: how messages are cut, when each had come, what is compared, what a user is told."""

import argparse
import contextlib
import json
import socket
import sys
import threading
from concurrent import futures
from pathlib import Path

import grpc
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pair_services import free_port, pair, started

from crossover.comparison.design import outcomes as out
from crossover.comparison.design import samples, schedule
from crossover.comparison.load import http1
from crossover.comparison.load.shared import Shared
from crossover.comparison.load.sockets import Address
from crossover.comparison.options import UsageError
from crossover.comparison.pair import options, sides, stream
from crossover.comparison.pair.exchange import Driver, Exchange, Expected, Rules
from crossover.comparison.pair.same import GrpcAnswer, RestAnswer, Same
from crossover.comparison.pair.schema import from_proto

GREETER = Path(__file__).parents[2] / "examples" / "greeter"
COUNTDOWN = "greeter.v1.Greeter/Countdown"
PAUSE = 0.05
"""Seconds between a slow stream's messages."""


@pytest.mark.parametrize(
    ("body", "kind", "messages"),
    [
        (b'{"a":1}\n\n{"a":2}', "application/x-ndjson", [b'{"a":1}', b'{"a":2}']),
        (b'\x1e{"a":1}\r\n\x1e{"a":2}\n', "application/json-seq", [b'{"a":1}', b'{"a":2}']),
        (b"", "application/json", []),
        (b'data: {"a":\ndata: 1}\n\nid: 7\ndata:2\n\n', "text/event-stream; charset=utf-8", [b'{"a":\n1}', b"2"]),
        (b"\xef\xbb\xbf: a comment\r\ndata: 1\r\n\r\ndata: [DONE]\r\n\r\n", "text/event-stream", [b"1"]),
        (b"data: 1\n\ndata: never ended\n", "text/event-stream", [b"1"]),
        (b"event: x\n\n\n\n", "text/event-stream", []),
    ],
)
def test_messages_of_an_http_stream(body, kind, messages):
    """Lines or events as their formats say; each ends where its last byte is."""
    found = stream.of_rest(body, kind)
    assert [message for message, _ in found] == messages
    assert all(body[:end].endswith((b"\n", message[-1:])) for message, end in found)


def test_a_message_has_come_when_its_last_byte_has():
    """Of chunks, too: the connection's count is that of raw bytes, the message's end is a place in the body."""
    reply = http1.Reply(200, b"", b"aaaa\nbbbb\n", ((100, 103), (110, 117)))
    assert [reply.received(place) for place in (1, 3, 5, 10)] == [101, 103, 112, 117]
    marks = [(7, 103), (8, 112), (9, 117)]
    assert stream.progress(stream.of_rest(reply.body, ""), marks, reply.received) == (8, 9, 2)
    assert stream.progress([], marks, reply.received) == (0, 0, 0)


def test_streams_differ_by_number_and_by_message():
    """The message that differs is named; messages that are left out are counted."""
    schema = from_proto(["greeter.proto"], [str(GREETER)], COUNTDOWN)
    assert schema.stream
    from crossover.comparison.pair.schema import Method

    method = Method(schema)
    body = b"".join(sides.framed(method.reply_type(message=text).SerializeToString()) for text in ("2, Ada", "1, Ada"))
    compared = lambda text: Same().differences(method, GrpcAnswer("OK", "", body), RestAnswer(200, text))  # noqa: E731
    assert compared(b'{"message":"2, Ada"}\n{"message":"1, Ada"}\n') == []
    assert compared(b'{"message":"2, Ada"}\n') == ["grpc sent 2 messages, rest 1 message"]
    (said,) = compared(b'{"message":"2, Ada"}\n{"message":"0, Ada"}\n')
    assert said.startswith("message 2: grpc.message")


class SlowGrpc(grpc.GenericRpcHandler):
    """Two messages with a pause before each."""

    def service(self, details):
        return grpc.unary_stream_rpc_method_handler(self._messages) if details.method == f"/{COUNTDOWN}" else None

    def _messages(self, _, __):
        for message in (b"\x0a\x011", b"\x0a\x012"):
            threading.Event().wait(PAUSE)
            yield message


@contextlib.contextmanager
def slow_grpc():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((SlowGrpc(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


def slow_lines(connection):
    """The same two messages as lines in chunks, the second torn into two."""
    with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
        while reader.readline():
            while reader.readline() != b"\r\n":
                pass
            reader.read(2)
            connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for part in (b'{"message":"1"}\n', b'{"message"', b':"2"}\n'):
                threading.Event().wait(PAUSE)
                connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
            threading.Event().wait(PAUSE)
            connection.sendall(b"0\r\n\r\n")


@contextlib.contextmanager
def slow_http():
    """A server for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: slow_lines(listener.accept()[0]), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_the_time_to_each_message_is_found_on_both_sides():
    """Servers that wait a known time before each message: nothing is seen before it was sent, and nothing as one message."""
    schema = from_proto(["greeter.proto"], [str(GREETER)], COUNTDOWN)
    body = b"".join(map(sides.framed, (b"\x0a\x011", b"\x0a\x012")))
    lines = b'{"message":"1"}\n{"message":"2"}\n'
    expected = Expected(GrpcAnswer("OK", "", body), RestAnswer(200, lines))
    with slow_grpc() as grpc_port, slow_http() as rest_port:
        over_grpc = sides.GrpcSide(Address("127.0.0.1", grpc_port), "a")
        over_rest = sides.RestSide(Address("127.0.0.1", rest_port), "a", "POST", "/")
        requests = {"grpc": sides.framed(b""), "rest": over_rest.encoded("/", b"{}")}
        pauses = {"grpc": (1, 1, 0), "rest": (1, 2, 1)}
        for side, data in requests.items():
            driver = Driver()
            work = Exchange(
                side, over_grpc, over_rest, Shared([data]), Shared([b"{}"]), Shared([expected]),
                Rules(schema, Same(), "OK", 200), schedule.closed(2, 1, 0), 1,
            )  # fmt: skip
            record = driver.run(work)
            driver.close()
            table = record.requests
            assert (table[:, out.OUTCOME] == out.OK).all(), record.complaint
            assert (table[:, out.MESSAGES] == 2).all()
            steps = [out.SENT, out.FIRST, out.LAST, out.DONE]
            for count, one, other in zip(pauses[side], steps, steps[1:], strict=False):
                assert ((table[:, other] - table[:, one]) / 1e9 > 0.9 * count * PAUSE).all(), (side, one, other)


@pytest.fixture
def flags():
    """Both greeters' countdowns."""
    over_grpc, over_rest = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    data = '{"name": "{{name}}", "times": 5}'
    with started("greeter_grpc.py", over_grpc), started("greeter_rest.py", over_rest):
        yield (
            "--grpc", over_grpc, "--call", COUNTDOWN, "--grpc-data", data, "--rest", f"POST http://{over_rest}/v1/countdown",
            "--rest-data", data, "--data", GREETER / "rows.jsonl",
        )  # fmt: skip


@pytest.mark.slow  # two fresh services and a whole run
def test_two_services_streams_are_measured_and_judged(flags, tmp_path):
    """Lines of JSON and server-sent events: first message and message by message, in summary and verdict."""
    done = pair(*flags, "--stream", "--rest-header", "accept: text/event-stream", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout
    assert "5 messages" in done.stdout
    assert "(--arms): rest-no-keepalive" in done.stdout
    done = pair(
        *flags, "--stream", "--blocks", "2", "--turns", "2", "--slice", "0.1", "--rate", "40", "--connections", "4",
        "--generators", "2", "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode in {0, 4}, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    metrics = {cell["metric"] for cell in summary["cells"] if cell["pair"] == ["grpc", "rest"]}
    assert metrics >= {"p50", "first_message", "message_bytes"}
    assert all(row["answered"] == row["requests"] > 0 for row in summary["arms"])
    assert all(row["first_message_ms"] > 0 for row in summary["arms"])
    tables = [table for _, table in samples.read(tmp_path / "run").slices]
    assert all((table[:, out.MESSAGES] == 5).all() for table in tables)
    assert "first message" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("call", "more", "said"),
    [
        (COUNTDOWN, (), "--stream compares it"),
        ("greeter.v1.Greeter/SayHello", ("--stream",), "answers with one message"),
        (COUNTDOWN, ("--stream", "--arms", "grpc", "rest", "grpc-web"), "does not go with --stream"),
    ],
)
def test_what_streams_and_what_does_not_are_not_mixed(call, more, said, tmp_path):
    """One sentence each: a stream without --stream, --stream without a stream, an arm that asks for one message."""
    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    given = parser.parse_args(
        ["--grpc", "h:1", "--call", call, "--proto", str(GREETER / "greeter.proto"), "--rest", "http://h:2/", *more]
    )
    with pytest.raises(UsageError, match=said):
        options.course_of(options.Asked(given), options.pair_of(options.Asked(given)), tmp_path)
