"""Header blocks, against the `hpack` library, and which fields make a message malformed."""

from __future__ import annotations

import time

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from crossover.transport.http2 import header_blocks
from crossover.transport.http2.frames import COMPRESSION_ERROR, LARGEST_BLOCK, LARGEST_FIELDS, ConnectionFaultError
from crossover.transport.http2.header_blocks import Fields, HeaderReader, HeaderWriter, literal

NAMES = st.text("abcxyz-", min_size=1, max_size=200)
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300).map(str.strip)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6)
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/a/b"), (":authority", "x")]


def block(*fields: tuple[str, str]) -> bytes:
    """Every field as a literal, whatever it is."""
    return b"".join(b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode("latin-1")
                    for name, value in fields)  # fmt: skip


@given(st.lists(FIELDS, max_size=8), st.lists(FIELDS, max_size=3), st.sampled_from([0, 60, 4096, 1 << 16]))
def test_blocks_that_are_written_are_read_by_hpack(repeated, own, table):
    """Repeated blocks and literals mean to another decoder what they say, whatever the size of its table."""
    writer, decoder = HeaderWriter(), Decoder()
    decoder.max_allowed_table_size = max(table, 4096)
    writer.limit(table)
    for fields in repeated + repeated:
        for more in own or [[]]:
            data = writer.block(tuple(fields), more)
            assert [(str(name), str(value)) for name, value in decoder.decode(data)] == fields + more


def joined(fields):
    found: dict[bytes, bytes] = {}
    for name, value in fields:
        key = name.encode()
        found[key] = found[key] + b"," + value.encode() if key in found else value.encode()
    return found


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.booleans()), max_size=12), st.sampled_from([None, 0, 100]))
def test_blocks_of_hpack_are_read(blocks, table):
    """What another encoder writes is read, indexed or not, Huffman coded or not, again and again."""
    encoder, reader = Encoder(), HeaderReader()
    if table is not None:
        encoder.header_table_size = table
    for _ in range(2):
        for fields, sensitive, huffman in blocks:
            data = encoder.encode([(name, value, sensitive) for name, value in fields], huffman=huffman)
            assert reader.fields(data) == joined(fields)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_bytes_are_read_as_hpack_reads_them(blocks):
    """Any bytes are the same fields as for hpack, or an error as there."""
    reader, decoder = HeaderReader(), Decoder()
    for data in blocks:
        try:
            theirs = decoder.decode(data, raw=True)
        except Exception:
            theirs = None
        try:
            ours = reader.fields(data)
        except ConnectionFaultError:
            return  # the connection is over; hpack takes integers of any length, and sizes between fields
        assert theirs is not None
        assert ours == joined([(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in theirs]
                              ) or any(byte > 127 for name, value in theirs for byte in bytes(name) + bytes(value))  # fmt: skip


def test_many_different_blocks_do_not_pile_up():
    """A peer that never repeats itself does not fill the memory of what was read."""
    reader = HeaderReader()
    for number in range(1000):
        reader.fields(literal("note", str(number)))
    assert len(reader._kept) <= 256


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\xfe", b"\x80", b"\x40", b"\x00\x05ab", b"\x3f\xe2\x7f",
                                  b"\x82\x20", b"\x00\x81\xff\x00", b"\xff" + b"\xff" * 9 + b"\x01"])  # fmt: skip
def test_blocks_that_cannot_be_read(data):
    """Cut, without such an index, too large a table, a table size after a field: the connection's error (RFC 9113, 4.3)."""
    with pytest.raises(ConnectionFaultError) as caught:
        HeaderReader().fields(data)
    assert caught.value.code == COMPRESSION_ERROR


LARGE = {
    "one field": literal("tracestate", "x" * LARGEST_FIELDS),
    "many fields": literal("a", "b") * 4000,
    "an entry that is repeated": b"\x40\x01a" + b"\x7f\x81\x1e" + b"v" * 4000 + b"\xbe" * 60_000,
    "empty names by index": b"\x0f\x01\x00" * 40_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_a_list_that_is_too_large_leaves_the_table_in_step(name):
    """Its fields are not kept, and what it puts into the table is: later blocks mean what they say."""
    reader = HeaderReader()
    found = reader.fields(LARGE[name] + b"\x40\x05later\x05entry")
    assert found.is_too_large
    assert sum(len(key) + len(value) for key, value in found.items()) <= LARGEST_FIELDS
    assert reader.fields(b"\xbe") == {b"later": b"entry"}


@pytest.mark.parametrize("unit", [b"\x82", b"\x00\x00\x00", b"\x40\x01a\x01b", b"\x00\x01a\x81\x07", b"\x20", b"\xbe",
                                  b"\x0f\x00\x00"])  # fmt: skip
def test_blocks_are_read_in_linear_time(unit):
    """Sixteen times the block takes about sixteen times as long, not its square."""

    def seconds(size: int) -> float:
        reader, best = HeaderReader(), 1e9
        data = b"\x40\x01a\x01b" * (unit == b"\xbe") + unit * (size // len(unit))
        for _ in range(3):
            began = time.thread_time()
            reader.fields(data)
            best = min(best, time.thread_time() - began)
        return best

    assert seconds(LARGEST_BLOCK) < 16 * 6 * seconds(LARGEST_BLOCK // 16) + 0.002


MALFORMED = [
    ("8.2.1 an upper-case name", [*REQUEST, ("Note", "x")]),
    ("8.2.1 an empty name", [*REQUEST, ("", "x")]),
    ("8.2.1 a blank in a name", [*REQUEST, ("a b", "x")]),
    ("8.2.1 a colon in a name", [*REQUEST, ("a:b", "x")]),
    ("8.2.1 NUL in a value", [*REQUEST, ("note", "a\0b")]),
    ("8.2.1 CR in a value", [*REQUEST, ("note", "a\rb")]),
    ("8.2.1 LF in a value", [*REQUEST, ("note", "a\nb")]),
    ("8.2.1 a value that begins with a blank", [*REQUEST, ("note", " a")]),
    ("8.2.1 a value that ends with a tab", [*REQUEST, ("note", "a\t")]),
    ("8.2.2 connection", [*REQUEST, ("connection", "close")]),
    ("8.2.2 transfer-encoding", [*REQUEST, ("transfer-encoding", "chunked")]),
    ("8.2.2 te that is not trailers", [*REQUEST, ("te", "gzip")]),
    ("8.3 an unknown pseudo-header", [*REQUEST, (":color", "x")]),
    ("8.3 a pseudo-header of responses", [*REQUEST, (":status", "200")]),
    ("8.3 a pseudo-header after a regular field", [*REQUEST[:3], ("note", "x"), REQUEST[3]]),
    ("8.3 a repeated pseudo-header", [*REQUEST, (":path", "/c")]),
    ("8.3.1 no :method", REQUEST[1:]),
    ("8.3.1 no :scheme", [REQUEST[0], *REQUEST[2:]]),
    ("8.3.1 no :path", [*REQUEST[:2], REQUEST[3]]),
    ("8.3.1 an empty :path", [*REQUEST[:2], (":path", "")]),
    ("8.3.1 a host that is another", [*REQUEST, ("host", "y")]),
    ("8.3.2 a :status of two digits", [(":status", "20")]),
    ("8.5 CONNECT with a :path", [(":method", "CONNECT"), (":path", "/a"), (":authority", "x")]),
    ("8.1.1 a content-length that is no number", [*REQUEST, ("content-length", "-1")]),
]  # fmt: skip


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(("rule", "fields"), MALFORMED, ids=[rule for rule, _ in MALFORMED])
def test_fields_that_may_not_be(rule, fields, indexed):
    """Each makes the message malformed, written as literals or from the table, the first time and again."""
    reader = HeaderReader()
    for _ in range(3):
        data = Encoder().encode(fields, huffman=False) if indexed else block(*fields)
        assert (HeaderReader() if indexed else reader).fields(data).malformed
    encoder = Encoder()
    for _ in range(3):
        found = reader.fields(encoder.encode(fields)) if indexed else reader.fields(block(*fields))
        assert found.malformed, rule


@pytest.mark.parametrize("fields", [REQUEST, [*REQUEST, ("te", "trailers"), ("host", "X"), ("content-length", "5")],
                                    [(":status", "200")], [("grpc-status", "0")], [],
                                    [(":method", "CONNECT"), (":authority", "x:1")]])  # fmt: skip
def test_fields_that_may_be(fields):
    """Well-formed requests, responses and trailers have no fault, and their kind is known."""
    found = HeaderReader().fields(Encoder().encode(fields))
    kinds = {":m": header_blocks.REQUEST, ":s": header_blocks.RESPONSE}
    assert (found.malformed, found.kind) == ("", kinds.get(fields[0][0][:2] if fields else "", header_blocks.TRAILERS))
    assert isinstance(found, Fields)


@given(st.text(max_size=40))
def test_values_that_we_write_may_be(value):
    """No text that a handler or a caller gives makes our own message malformed."""
    assert HeaderReader().fields(literal("note", value)).malformed == ""
