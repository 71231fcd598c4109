"""No value of a propagated header is an error, on no upstream and no API, and what arrives is in a form for every wire."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
from urllib.parse import urlsplit

import pytest

UPSTREAMS = ("grpc", "grpc-typed", "grpc-coalesced", "grpc-stream", "grpc-lean", "rest", "rest-binary", "inprocess")
NAMES = ("X-Request-Id", "traceparent", "tracestate")
_FIELD_VALUE = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)])
"""The bytes of a header's value (RFC 9110 5.5)."""


def values() -> list[bytes]:
    """The ones that were found to break a wire, and as many of any kind (the seed is fixed)."""
    chosen = random.Random(13)
    made = [bytes(chosen.choices(_FIELD_VALUE, k=chosen.choice((1, 7, 200, 3000)))) for _ in range(12)]
    return [b"caf\xe9", b"a\tb", b"\xff", b"", b"\xe2\x98\x83", b"%", b"x" * 60_000, *made]


def post(base: str, path: str, body: bytes, headers: list[tuple[str, bytes]]) -> tuple[int, bytes]:
    parts = urlsplit(base)
    with contextlib.closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)) as connection:
        connection.putrequest("POST", path)
        for name, value in [("Content-Type", b"application/json"), ("Content-Length", b"%d" % len(body)), *headers]:
            connection.putheader(name, value)
        connection.endheaders(body)
        reply = connection.getresponse()
        return reply.status, reply.read()


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_any_value_is_served_on_every_upstream(stack, digit, upstream):
    """Bytes over 0x7f, TABs and long values are the caller's own business: 200, or the server's refusal of its head."""
    body = json.dumps(digit).encode()
    for value in values():
        headers = [(name, value) for name in NAMES]
        status, text = post(
            stack.gateway_url, "/v2/models/digits/infer", body, [*headers, ("Inference-Upstream", upstream.encode())]
        )
        assert status in ((200, 431) if len(value) > 10_000 else (200,)), (value[:80], text[:300])


def test_any_value_is_served_by_the_predictions(stack, digit):
    """Under /api too, where the call's record is kept."""
    body = json.dumps({"model": "digits", **digit}).encode()
    for value in values():
        status, text = post(stack.gateway_url, "/api/predictions", body, [(name, value) for name in NAMES])
        assert status in ((201, 202, 431) if len(value) > 10_000 else (201, 202)), (value[:80], text[:300])
