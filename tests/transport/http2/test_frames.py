"""HTTP/2's frames, against the `hyperframe` library."""

from __future__ import annotations

import pytest
from hyperframe import frame as theirs
from hypothesis import given
from hypothesis import strategies as st

from crossover.transport.http2 import frames as http2

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
    for kind, flags, stream, payload, _ in pieces:
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
    return kind, flags, frame.stream_id, payload, len(data) - 9


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
    counted = sum(size for kind, _, _, _, size in found if kind == http2.DATA)
    assert counted == sum(len(frame.serialize()) - 9 for frame in frames if frame.type == http2.DATA)


@pytest.mark.parametrize(
    ("read", "code"),
    [
        (lambda: read(http2.head(http2.HEADERS, 0, 1, 1 << 20)), http2.ENHANCE_YOUR_CALM),
        (lambda: read(http2.head(http2.SETTINGS, 0, 0, 6 << 16)), http2.ENHANCE_YOUR_CALM),
        (lambda: http2.header_block_in(http2.PADDED, b"\x09abc"), http2.PROTOCOL_ERROR),
        (lambda: http2.header_block_in(http2.PADDED, b""), http2.FRAME_SIZE_ERROR),
        (lambda: http2.header_block_in(http2.WITH_PRIORITY, b"1234"), http2.FRAME_SIZE_ERROR),
        (lambda: http2.header_block_in(http2.WITH_PRIORITY | http2.PADDED, b"\x0112345"), http2.PROTOCOL_ERROR),
        (lambda: read(http2.frame(http2.DATA, http2.PADDED, 1)), http2.FRAME_SIZE_ERROR),
        (lambda: read(http2.frame(http2.DATA, http2.PADDED, 1, b"\x01")), http2.PROTOCOL_ERROR),
        (lambda: http2.settings_in(b"\0\4\xff\xff\xff\xff"), http2.FLOW_CONTROL_ERROR),
        (lambda: http2.settings_in(b"\0\5\0\0\0\1"), http2.PROTOCOL_ERROR),
        (lambda: http2.settings_in(b"\0\2\0\0\0\2"), http2.PROTOCOL_ERROR),
        *((lambda kind=kind, size=size: read(http2.head(kind, 0, 0, size)), http2.FRAME_SIZE_ERROR)
          for kind, size in ((http2.PING, 7), (http2.RST_STREAM, 5), (http2.WINDOW_UPDATE, 3), (http2.SETTINGS, 7),
                             (http2.GOAWAY, 7))),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_has_its_code(read, code):
    """Frames that may not be are refused with the code that RFC 9113 names, before their payload has come."""
    with pytest.raises(http2.ConnectionFaultError) as caught:
        read()
    assert caught.value.code == code


def read(data):
    return list(http2.FrameReader().feed(data))
