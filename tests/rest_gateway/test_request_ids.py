"""Every reply names its request, and the same name is in problem details, the exchange and on the hop."""

from __future__ import annotations

import contextlib
import re
import socket
from urllib.parse import urlsplit

import pytest

MADE = re.compile(r"[0-9a-f]{24}")
PLACES = {
    "/v2": ("GET", "/v2", None, 200),
    "infer": ("POST", "/v2/models/digits/infer", "digit", 200),
    "an error of the model server": ("POST", "/v2/models/nope/infer", "digit", 404),
    "a broken body": ("POST", "/v2/models/digits/infer", b"{", 400),
    "the protocol's own 405": ("PUT", "/v2", None, 405),
    "a path nobody serves": ("GET", "/nothing", None, 404),
    "metrics": ("GET", "/metrics", None, 200),
    "the page": ("GET", "/docs", None, 200),
    "the API": ("GET", "/api/models", None, 200),
    "a problem": ("GET", "/api/predictions/none", None, 404),
    "a prediction": ("POST", "/api/predictions", "prediction", 201),
    "a body that is too long": ("POST", "/api/predictions", b" ", 400),
}


def body_for(what, digit):
    return (
        {"digit": digit, "prediction": {"model": "digits", **digit}}.get(what, what) if isinstance(what, str) else what
    )


@pytest.mark.parametrize("place", PLACES)
def test_every_reply_names_its_request(gateway, digit, place):
    """Whoever answers: an id is made where none came, a different one each time; one that came is given back."""
    method, path, what, status = PLACES[place]
    body = body_for(what, digit)
    first, second = gateway(method, path, body), gateway(method, path, body)
    named = gateway(method, path, body, X_Request_Id="  mine-7 ")
    assert first.status == second.status == named.status == status
    ids = [reply.headers["x-request-id"] for reply in (first, second, named)]
    assert all(MADE.fullmatch(found) for found in ids[:2]) and ids[0] != ids[1]
    assert ids[2] == "mine-7"
    if first.headers["content-type"] == "application/problem+json":
        assert [reply.json()["request_id"] for reply in (first, second, named)] == ids


def test_what_cannot_be_read_is_named_too(stack):
    """A refusal of the connection itself has an id, since its line in a proxy's log has none."""
    at = urlsplit(stack.gateway_url)
    for request in (b"BAD\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET /api/x HTTP/1.1\r\nHost: a b\r\n\r\n"):
        with contextlib.closing(socket.create_connection((at.hostname, at.port), timeout=10)) as connection:
            connection.sendall(request)
            reply = b""
            while piece := connection.recv(65536):
                reply += piece
        head, _, body = reply.partition(b"\r\n\r\n")
        found = re.search(rb"\r\nx-request-id: ([0-9a-f]{24})(\r\n|$)", head)
        assert reply.startswith(b"HTTP/1.1 400") and found, reply
        if b"problem+json" in head:
            assert b'"request_id":"%b"' % found[1] in body


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("café", "caf%E9"), ("a\tb", "a%09b"), ("x" * 1024, "x" * 1024), ("x" * 1025, None), ("", None)],
)
def test_an_id_comes_back_in_the_form_that_every_wire_carries(gateway, sent, echoed):
    """What logs and metadata cannot hold is escaped, or replaced by one of ours."""
    found = gateway("GET", "/v2", X_Request_Id=sent.encode("latin-1")).headers["x-request-id"]
    assert found == echoed if echoed is not None else MADE.fullmatch(found)


@pytest.mark.parametrize("upstream", ["grpc", "grpc-stream", "grpc-lean", "rest", "rest-binary"])
def test_the_exchange_shows_the_id_on_both_hops(gateway, digit, upstream):
    """The id of a prediction's request goes on to the model server on every wire, made or not."""
    for given in ({}, {"X_Request_Id": "mine-8"}):
        body = {"model": "digits", "upstream": upstream, **digit}
        made = gateway("POST", "/api/predictions", body, **given)
        identity = made.headers["x-request-id"]
        exchange = gateway("GET", f"{made.headers['location']}/exchange")
        text = exchange.body.decode()
        assert text.count(f'"{identity}"') >= 2, text
