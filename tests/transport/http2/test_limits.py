"""What a peer may make a connection do for nothing is bounded: each flood ends the connection, and what is usual does not."""

from __future__ import annotations

import time

import pytest

from crossover.transport.http2 import events
from crossover.transport.http2 import frames as http2
from crossover.transport.http2.connection import Connection
from crossover.transport.http2.limits import Limits, TokenBucket
from tests.transport.http2 import cases
from tests.transport.http2.test_conformance import HANDSHAKE, opened

CALM = http2.ENHANCE_YOUR_CALM
FEW = Limits(streams=5, unsent_bytes=1000, resets=50, resets_per_second=0, faults=20, faults_per_second=0,
             idle_frames=1000, idle_frames_per_second=0)  # fmt: skip


def numbered(make, count=200):
    return b"".join(make(2 * number + 1) for number in range(count))


FLOODS = {
    "PING": http2.frame(http2.PING, 0, 0, bytes(8)) * 1500,
    "acknowledged PING": http2.frame(http2.PING, http2.ACK, 0, bytes(8)) * 1500,
    "SETTINGS": http2.frame(http2.SETTINGS, 0, 0) * 20,
    "SETTINGS acknowledged": http2.frame(http2.SETTINGS, http2.ACK, 0) * 1500,
    "PRIORITY": http2.frame(http2.PRIORITY, 0, 1, bytes(5)) * 1500,
    "unknown frames": http2.frame(99, 0, 0) * 1500,
    "WINDOW_UPDATE of the connection": http2.frame(http2.WINDOW_UPDATE, 0, 0, http2.number(1)) * 1500,
    "WINDOW_UPDATE of a stream": cases.begin() + http2.frame(http2.WINDOW_UPDATE, 0, 1, http2.number(1)) * 1500,
    "empty DATA": cases.begin() + http2.frame(http2.DATA, 0, 1) * 1500,
    "DATA of one byte": cases.begin() + http2.frame(http2.DATA, 0, 1, b"x") * 1500,
    "DATA that is all padding": cases.begin() + http2.frame(http2.DATA, http2.PADDED, 1, b"\x09" + bytes(9)) * 1500,
    "empty CONTINUATION": http2.frame(http2.HEADERS, 0, 1) + http2.frame(http2.CONTINUATION, 0, 1) * 1500,
    "GOAWAY": http2.frame(http2.GOAWAY, 0, 0, bytes(8)) * 1500,
    "streams that the peer resets (CVE-2023-44487)":
        numbered(lambda n: cases.begin(n) + http2.frame(http2.RST_STREAM, 0, n, http2.number(http2.CANCEL))),
    "streams that are refused": numbered(cases.begin),
    "RST_STREAM of closed streams":
        cases.begin() + http2.frame(http2.RST_STREAM, 0, 1, http2.number(8)) * 1500,
    "streams that WINDOW_UPDATE of 0 makes us reset (CVE-2025-8671)":
        numbered(lambda n: cases.begin(n) + http2.frame(http2.WINDOW_UPDATE, 0, n, http2.number(0))),
    "streams that DATA after END_STREAM makes us reset":
        numbered(lambda n: cases.begin(n, cases.WHOLE) + http2.frame(http2.DATA, 0, n, b"x")),
    "streams that malformed HEADERS make us reset":
        numbered(lambda n: cases.begin(n, cases.WHOLE, [("A", "b")])),
    "DATA on closed streams":
        cases.begin() + http2.frame(http2.RST_STREAM, 0, 1, http2.number(8)) + http2.frame(http2.DATA, 0, 1, b"x" * 99) * 30,
}  # fmt: skip


def server(limits: Limits = FEW) -> Connection:
    connection = Connection(client=False, window=1 << 20, limits=limits)
    connection.receive(http2.PREFACE + HANDSHAKE)
    connection.take_output()
    return connection


def received(connection: Connection, data: bytes) -> list:
    found = connection.receive(data)
    while connection.is_behind:
        found += connection.receive(b"")
    return found


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_the_connection(name):
    """Everything that a peer can repeat without bringing a call forward has an allowance (ENHANCE_YOUR_CALM)."""
    last = received(server(), FLOODS[name])[-1]
    assert isinstance(last, events.ConnectionFailed)
    assert last.code == CALM, last.text


@pytest.mark.parametrize("name", FLOODS)
def test_the_output_of_a_flood_is_bounded(name):
    """What it makes us say is no more than it says itself, and a reset for each stream."""
    connection = server()
    received(connection, FLOODS[name])
    assert len(connection.take_output()) <= len(FLOODS[name]) + 1000


def test_a_header_block_without_end():
    """A block is bounded in bytes, whether it comes in one frame or in many, before it is decoded (CONTINUATION flood)."""
    piece = http2.frame(http2.CONTINUATION, 0, 1, bytes(16_000))
    (failed,) = received(server(), http2.frame(http2.HEADERS, 0, 1) + piece * 20)
    assert failed.code == CALM
    (failed,) = received(server(), http2.head(http2.HEADERS, 4, 1, 1 << 20))
    assert failed.code == CALM


def test_what_is_usual_does_not_count_as_a_flood():
    """Thousands of calls, each with the PING and the WINDOW_UPDATEs of grpcio, are within the allowance."""
    connection = server(Limits(idle_frames=100, idle_frames_per_second=0, faults=1, faults_per_second=0, resets=1,
                               resets_per_second=0))  # fmt: skip
    for number in range(1, 4001, 2):
        (*_, ended) = received(connection, cases.call(number))
        assert ended.ends
        connection.send_headers(ended.stream, ((":status", "200"),))
        connection.send_data(ended.stream, bytes(100))
        connection.send_headers(ended.stream, (("grpc-status", "0"),), ends=True)
        grown = http2.frame(http2.WINDOW_UPDATE, 0, 0, http2.number(100))
        received(connection, grown + http2.frame(http2.WINDOW_UPDATE, 0, number, http2.number(100))
                 + http2.frame(http2.PING, 0, 0, bytes(8)))  # fmt: skip
    assert not connection.failed


def test_streams_at_once():
    """5.1.2: what is above the limit is refused, which says that it may be sent again; the others go on."""
    connection = server()
    found = received(connection, numbered(cases.begin, 7))
    assert [event.stream.number for event in found] == [1, 3, 5, 7, 9]
    assert connection.take_output().count(http2.number(http2.REFUSED_STREAM)) == 2
    assert connection.last_stream_taken == 9


def test_new_streams_while_the_peer_takes_nothing():
    """With too many bytes that wait for its windows, the peer's new streams are refused, until it takes them."""
    connection = server()
    connection.receive(http2.frame(http2.SETTINGS, 0, 0, http2.settings({http2.INITIAL_WINDOW_SIZE: 0})))
    (event,) = received(connection, cases.begin(1))
    connection.send_headers(event.stream, ((":status", "200"),))
    connection.send_data(event.stream, bytes(2000), ends=True)
    assert received(connection, cases.begin(3)) == []
    assert connection.unsent_bytes == 2000
    received(connection, http2.frame(http2.WINDOW_UPDATE, 0, 1, http2.number(1500)))
    assert connection.unsent_bytes == 500
    assert len(received(connection, cases.begin(5))) == 1
    connection.reset(event.stream, http2.CANCEL)
    assert connection.unsent_bytes == 0


def test_frames_are_read_in_turns():
    """Many small frames in one read are not one long turn: the rest waits, whole and in order."""
    connection = opened(cases.BOTH[0], client=False)
    data = b"".join(http2.frame(http2.PING, 0, 0, number.to_bytes(8, "big")) for number in range(5000))
    turns, output = 0, b""
    connection.receive(data)
    while connection.is_behind:
        turns += 1
        output += connection.take_output()
        connection.receive(b"")
    output += connection.take_output()
    assert turns == 2
    assert output == b"".join(http2.frame(http2.PING, 1, 0, number.to_bytes(8, "big")) for number in range(5000))


@pytest.mark.usefixtures("settled_collector")
@pytest.mark.parametrize("name", FLOODS)
def test_a_turn_is_short(name):
    """With the real limits, a turn over 256 KiB of any flood stays in the order of milliseconds of CPU."""
    connection = server(Limits())
    data, longest = FLOODS[name] * 20, 0.0
    data = data[: 256 << 10]
    while data or connection.is_behind:
        began = time.thread_time()
        connection.receive(data)
        longest, data = max(longest, time.thread_time() - began), b""
    assert longest < 0.5


def test_token_buckets():
    """A burst, then so many per second; time that was not used does not add up beyond the burst."""
    now = [0.0]
    bucket = TokenBucket(10, 5, lambda: now[0])
    assert [bucket.take() for _ in range(11)] == [True] * 10 + [False]
    now[0] = 1.0
    assert [bucket.take() for _ in range(5)].count(True) == 4
    now[0] = 100.0
    assert [bucket.take() for _ in range(12)].count(True) <= 11
