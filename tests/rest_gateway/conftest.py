"""A real model server with a real gateway in front of it, and a small HTTP client for them."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from crossover.stack.services import running


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


def ask(base: str, method: str, path: str, body: object = None, **headers: str) -> Reply:
    """One exchange; `body` is sent as it is when it is bytes, else as JSON. Header names have _ for -."""
    parts = urlsplit(base)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, data, {"Content-Type": "application/json", **sent} if data else sent)
        reply = connection.getresponse()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    settings = {
        "GATEWAY_UPSTREAM_HEADER": "1",
        "GATEWAY_REPOSITORY_CONTROL": "1",
        "GATEWAY_TIMING": "1",
        "DATA_DIR": str(folder),
    }
    with (folder / "crossover.stack.log").open("wb") as log, running(settings, log) as stack:
        yield stack


@pytest.fixture
def gateway(stack):
    """Ask the gateway: gateway("GET", "/v2", Header_Name="value")."""
    return lambda method, path, body=None, **headers: ask(stack.gateway_url, method, path, body, **headers)


@pytest.fixture(scope="session")
def samples(root):
    return json.loads((root / "models" / "digits" / "samples.json").read_text("utf-8"))["samples"]


@pytest.fixture
def digit(samples):
    """An OIP request for the first committed sample, which is a real held-out digit."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": samples[0]["inputs"]}]}
