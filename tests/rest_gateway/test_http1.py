"""Both services' REST ports against the table of RFC 9112: the gateway under /v2 and under /api, and the model server."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.transport.http1.conformance import CASES, LAST, answers, filled

INDEX = b"/v2/repository/index"
PLACES = {
    "gateway, OIP": ("gateway_url", b"/v2/health/live"),
    "gateway, FastAPI": ("gateway_url", b"/api/models"),
    "model server": ("rest_url", b"/v2/health/live"),
}


@pytest.mark.parametrize("place", PLACES)
def test_rfc_9112(stack, place):
    """Each request of the table gets the statuses that the section asks for, and leaves the connection as it says."""
    url, path = PLACES[place]
    port = urlsplit(getattr(stack, url)).port

    async def exchanges():
        return [await answers(port, [filled(case.sent, path, INDEX)], LAST) for case in CASES]

    found = asyncio.run(exchanges())
    wrong = [
        (case.name, got, (case.statuses, case.end))
        for case, got in zip(CASES, found, strict=True)
        if got != (case.statuses, case.end)
    ]
    assert wrong == []


REFUSED = {
    "another version": (505, b"POST %b HTTP/2.0\r\nHost: localhost\r\n\r\n"),
    "no Host": (400, b"GET %b HTTP/1.1\r\n\r\n"),
    "a head of 70 KB": (431, b"GET %b HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),
    "300 fields": (431, b"GET %b HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 300 + b"\r\n"),
    "a target of 70 KB": (414, b"GET %b?" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "absolute form": (417, b"PUT http://localhost%b HTTP/1.1\r\nHost: localhost\r\nExpect: tea\r\n\r\n"),
    "another coding": (501, b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "no chunk": (
        400,
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ),
    "a line without CR": (400, b"GET %b HTTP/1.1\nHost: localhost\n\n"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", [b"/api/predictions", b"/v2/models/digits/infer"])
def test_what_a_connection_refuses_has_the_form_of_its_api(stack, name, path):
    """Problem details under /api, {"error", "code"} elsewhere, whatever of the request could be read."""
    status, sent = REFUSED[name]
    with socket.create_connection(("127.0.0.1", urlsplit(stack.gateway_url).port), timeout=10) as client:
        client.sendall(sent.replace(b"%b", path))
        reply = http.client.HTTPResponse(client)
        reply.begin()
        document = json.loads(reply.read())
    assert reply.status == status
    if path.startswith(b"/api"):
        assert reply.getheader("Content-Type") == "application/problem+json"
        assert (document["status"], document["instance"]) == (status, path.decode())
        assert document["detail"]
    else:
        assert reply.getheader("Content-Type") == "application/json"
        assert document.keys() == {"error", "code"}
