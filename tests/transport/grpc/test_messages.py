"""gRPC's framing, metadata and timeouts, for both ends."""

from __future__ import annotations

import gzip
import random
import threading
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol import deadline
from crossover.transport.grpc import messages, metadata, status

LIMIT = 1 << 20


def framed(data: bytes, compressed: int = 0) -> bytes:
    return bytes((compressed,)) + len(data).to_bytes(4, "big") + data


@given(st.lists(st.binary(max_size=300) | st.integers(65_000, 70_000).map(bytes), max_size=5), st.data())
def test_messages_come_whole_however_they_are_cut(sent, data):
    """Whatever pieces the bytes come in, the messages are those that were sent, and nothing is missing at the end."""
    reader = messages.MessageReader(LIMIT)
    whole = b"".join(map(framed, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    got = []
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        got += [bytes(message) for message in reader.feed(whole[start:stop])]
    assert got == sent
    assert (reader.held, reader.missing) == (0, 0)


def test_what_is_missing_is_known_from_the_prefix_on():
    """The length comes first, so that credit can be given for the rest."""
    reader = messages.MessageReader(LIMIT)
    assert reader.feed(framed(bytes(1000))[:105]) == []
    assert reader.missing == 900


@pytest.mark.parametrize(
    ("data", "encoding", "code"),
    [
        (framed(bytes(LIMIT + 1))[:5], "identity", status.RESOURCE_EXHAUSTED),
        (framed(b"x", 1), "identity", status.INTERNAL),
        (framed(b"x", 1), "gzip", status.INTERNAL),
        (framed(b"x", 2), "gzip", status.INTERNAL),
        (framed(b"x", 1), "snappy", status.UNIMPLEMENTED),
        (framed(gzip.compress(bytes(LIMIT + 1)), 1), "gzip", status.RESOURCE_EXHAUSTED),
        (framed(gzip.compress(random.Random(1).randbytes(9000))[:-9], 1), "gzip", status.INTERNAL),
        (framed(gzip.compress(b"x") + b"y", 1), "gzip", status.INTERNAL),
        (framed(gzip.compress(b"x") + gzip.compress(b"y"), 1), "gzip", status.INTERNAL),
        (framed(zlib.compress(b"x") + b"y", 1), "deflate", status.INTERNAL),
    ],
)
async def test_bad_messages(data, encoding, code):
    """Too large, compressed without a word, broken, a bomb, or with something after its end."""
    with pytest.raises(messages.BadMessageError) as caught:
        await messages.MessageReader(LIMIT, encoding).feed(data)[0].read()
    assert caught.value.code == code


async def test_little_is_decompressed_on_the_loop_and_much_in_a_thread(monkeypatch):
    """A small message may become a thousand times as large; nobody waits for that."""
    threads = []
    monkeypatch.setattr(messages, "decompressed", lambda *_: threads.append(threading.current_thread()) or b"")
    for size in (messages.INLINE_BYTES, messages.INLINE_BYTES + 1):
        await messages.Compressed(bytes(size), "gzip", LIMIT).read()
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b-c"]), st.text("xyz ", max_size=5)), max_size=1), st.binary(max_size=9)
)
def test_metadata_survives(texts, data):
    """Text stays text, and bytes of -bin keys come back."""
    sent = (*texts, ("key-bin", data))
    fields = {key.encode(): value.encode() for key, value in metadata.metadata_out(sent)}
    assert metadata.metadata_in(fields) == sent


@given(st.floats(1e-3, 1e7))
def test_timeouts_survive(seconds):
    """What is written is read as the same deadline, within a ten-thousandth and the time that passed."""
    until = deadline.after(seconds)
    found = metadata.deadline_of(metadata.timeout_text(until).encode())
    assert found == pytest.approx(until, rel=1e-4, abs=0.05)


def test_no_timeout():
    """Without a grpc-timeout there is no deadline."""
    assert metadata.deadline_of(None) == deadline.NEVER


@pytest.mark.parametrize(
    "text", [b"", b"5", b"m", b"5x", b"-5m", b"123456789m", b"1.5S", b" 5S", b"5 S", b"\xb2S", "５S".encode()]
)
def test_timeouts_that_are_none(text):
    """What is not a timeout is refused: a call without the deadline that its caller meant would be worse."""
    with pytest.raises(metadata.BadTimeoutError, match="at most 8 digits"):
        metadata.deadline_of(text)


def test_units_of_timeouts():
    """H, M, S, m, u and n are hours down to nanoseconds."""
    for text, seconds in ((b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"4m", 0.004), (b"5u", 5e-6), (b"6n", 6e-9)):
        assert metadata.deadline_of(text) - time.monotonic() == pytest.approx(seconds, abs=0.05)
