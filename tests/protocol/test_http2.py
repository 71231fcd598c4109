"""HTTP/2's frames and header blocks, against the `hyperframe` and `hpack` libraries."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder
from hyperframe import frame as theirs
from hypothesis import given
from hypothesis import strategies as st

from crossover.transport.http2 import frames as http2

NAMES = st.text("abcxyz-", min_size=1, max_size=200)
FIELDS = st.lists(
    st.tuples(NAMES, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)), max_size=6
)
FRAMES = st.lists(
    st.one_of(
        st.builds(lambda stream, data, pad, end: theirs.DataFrame(
            stream, data, pad_length=pad, flags=(["PADDED"] if pad else []) + ["END_STREAM"] * end),
                  st.integers(1, 9), st.binary(max_size=9000), st.integers(0, 255), st.booleans()),
        st.builds(lambda stream, data, pad, flags: theirs.HeadersFrame(
            stream, data, pad_length=pad, flags=(["PADDED"] if pad else []) + flags),
                  st.integers(1, 9), st.binary(max_size=300), st.integers(0, 255),
                  st.lists(st.sampled_from(["END_STREAM", "END_HEADERS", "PRIORITY"]))),
        st.builds(lambda data: theirs.PingFrame(0, data), st.binary(min_size=8, max_size=8)),
        st.builds(lambda by: theirs.WindowUpdateFrame(0, by), st.integers(1, 2**31 - 1)),
    ),
    max_size=8,
)  # fmt: skip


def whole(pieces):
    """Frames with the pieces of each DATA frame put together again; a piece that does not end its frame looks alike, so
    neighbours on one stream are joined.
    """
    found = []
    for kind, flags, stream, payload in pieces:
        if found and kind == http2.DATA and found[-1][0] == kind and found[-1][2] == stream and not found[-1][1]:
            found[-1] = kind, flags & http2.END_STREAM, stream, found[-1][3] + bytes(payload)
        else:
            found.append((kind, flags & http2.END_STREAM if kind == http2.DATA else flags, stream, bytes(payload)))
    return [entry for entry in found if entry[0] != http2.DATA or entry[1] or entry[3]]


def expected(frame):
    data = frame.serialize()
    kind, flags, payload = data[3], data[4], data[9:]
    if kind == http2.DATA:
        payload = frame.data
    elif kind == http2.HEADERS:
        payload = frame.data
    return kind, flags, frame.stream_id, payload


@given(FRAMES, st.lists(st.integers(1, 4000), min_size=1, max_size=20))
def test_frames_are_the_same_however_they_are_cut(frames, cuts):
    """Whatever pieces the bytes come in, the frames are those that hyperframe wrote."""
    data = b"".join(frame.serialize() for frame in frames)
    reader, found, at, turn = http2.FrameReader(), [], 0, 0
    while at < len(data):
        cut = cuts[turn % len(cuts)]
        found += list(reader.feed(data[at : at + cut]))
        at, turn = at + cut, turn + 1
    assert whole(found) == whole([expected(frame) for frame in frames])
    padding = [frame.pad_length + 1 if "PADDED" in frame.flags else 0 for frame in frames if frame.type == http2.DATA]
    assert reader.data_bytes == sum(len(f.data) for f in frames if f.type == http2.DATA) + sum(padding)


@given(st.lists(FIELDS, max_size=8), st.lists(FIELDS, max_size=3), st.sampled_from([0, 60, 4096, 1 << 16]))
def test_blocks_that_are_written_are_read_by_hpack(repeated, own, table):
    """Repeated blocks and literals mean to another decoder what they say, whatever the size of its table."""
    writer, decoder = http2.HeaderWriter(), Decoder()
    decoder.max_allowed_table_size = max(table, 4096)
    writer.limit(table)
    for fields in repeated + repeated:
        for more in own or [[]]:
            block = writer.block(tuple(fields), more)
            assert [(str(name), str(value)) for name, value in decoder.decode(block)] == fields + more


@given(st.lists(st.tuples(FIELDS, st.booleans()), max_size=12))
def test_blocks_of_hpack_are_read(blocks):
    """What another encoder writes is read, indexed or not, again and again."""
    encoder, reader = Encoder(), http2.HeaderReader()
    for _ in range(2):
        for fields, sensitive in blocks:
            block = encoder.encode([(name, value, sensitive) for name, value in fields])
            assert reader.fields(block) == {name.encode(): value.encode() for name, value in fields}


def test_many_different_blocks_do_not_pile_up():
    """A peer that never repeats itself does not fill the memory of what was read."""
    reader = http2.HeaderReader()
    for number in range(1000):
        reader.fields(http2.literal("note", str(number)))
    assert len(reader._kept) <= 256


@pytest.mark.parametrize(
    ("read", "code"),
    [
        (lambda: list(http2.FrameReader().feed(http2.head(http2.HEADERS, 0, 1, 1 << 20))), http2.FRAME_SIZE_ERROR),
        (lambda: list(http2.FrameReader().feed(http2.frame(http2.HEADERS, http2.PADDED, 1, b"\x09abc"))),
         http2.PROTOCOL_ERROR),
        (lambda: list(http2.FrameReader().feed(http2.frame(http2.DATA, http2.PADDED, 1))), http2.FRAME_SIZE_ERROR),
        (lambda: http2.HeaderReader().fields(b"\xff\xff\xff"), http2.COMPRESSION_ERROR),
        (lambda: http2.HeaderReader().fields(b"\xfe"), http2.COMPRESSION_ERROR),
        (lambda: http2.settings_in(b"\0\4\xff\xff\xff\xff"), http2.FLOW_CONTROL_ERROR),
        (lambda: http2.settings_in(b"\0\5\0\0\0\1"), http2.PROTOCOL_ERROR),
        (lambda: http2.settings_in(b"\0\5\0\0"), http2.FRAME_SIZE_ERROR),
        (lambda: http2.number_in(b"\0"), http2.FRAME_SIZE_ERROR),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_has_its_code(read, code):
    """Frames and blocks that may not be are refused with the code that RFC 9113 names."""
    with pytest.raises(http2.Http2Error) as caught:
        read()
    assert caught.value.code == code
