"""Large bodies on every route: none keeps the event loop of its service from the others, as the services' own watch counts."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from crossover.protocol.wires import WIRES
from crossover.stack.services import running

pytestmark = pytest.mark.slow
MIB = 1 << 20
SIZE = 16 * MIB
COUNT = SIZE // len("0.125,")
BOUND_SECONDS = 2 * (0.020 + 0.001 * SIZE / MIB)
"""20 ms of CPU and 1 ms a MiB received; twice, as CPU time is dearer while other processes share the core."""
FLOATS = b"[" + b",".join([b"0.125"] * COUNT) + b"]"
TENSOR = b'{"name":"x","datatype":"FP32","shape":[1,%d],"data":%s}' % (COUNT, FLOATS)
INFER = b'{"inputs":[%s]}' % TENSOR
PREDICTION = b'{"model":"identity","inputs":[%s]}' % TENSOR
STRINGS = b"[" + b",".join([b'"0123456789abc"'] * (SIZE // 16)) + b"]"
BYTES = b'{"model":"identity","inputs":[{"name":"x","datatype":"BYTES","shape":[1,%d],"data":%s}]}' % (
    SIZE // 16,
    STRINGS,
)
NAMES = b'{"model":"identity","inputs":[{"name":"x","datatype":"FP32","shape":[1,%d],"data":[%s]}]}' % (
    MIB // 2, b",".join([b'"NaN"'] * (MIB // 2)),
)  # fmt: skip
BESIDE = b'{"parameters":{},"x":%s}' % FLOATS
FILE = b'{"parameters":{"config":"{}","file:1/model.onnx":"%s"}}' % base64.b64encode(bytes(SIZE * 3 // 4))
CONFIG = b'{"parameters":{"config":"%s"}}' % (b"x" * SIZE)
OIP = {
    "infer": ("POST", "/v2/models/identity/infer", INFER, {200}),
    "infer with much beside": ("POST", "/v2/models/identity/infer", BESIDE, {400}),
    "v1 rows": ("POST", "/v1/models/identity:predict", b'{"instances":[%s]}' % FLOATS, {200}),
    "v1 columns": ("POST", "/v1/models/identity:predict", b'{"inputs":{"x":[%s]}}' % FLOATS, {200}),
    "index": ("POST", "/v2/repository/index", BESIDE, {413}),
    "load of a file": ("POST", "/v2/repository/models/up/load", FILE, {400}),
    "load with a configuration": ("POST", "/v2/repository/models/digits/load", CONFIG, {400}),
    "load with much beside": ("POST", "/v2/repository/models/digits/load", BESIDE, {413}),
    "unload with much beside": ("POST", "/v2/repository/models/digits/unload", BESIDE, {413}),
    "shared memory": ("POST", "/v2/systemsharedmemory/region/a/register", BESIDE, {413, 501}),
    "unsupported": ("POST", "/v2/logging", BESIDE, {501}),
    "nowhere": ("POST", "/v2/nowhere", BESIDE, {404}),
    "statistics": ("GET", "/v2/models/stats", None, {200}),
    "metrics": ("GET", "/metrics", None, {200}),
}
API = {
    "prediction": ("POST", "/api/predictions", PREDICTION, {201}),
    "prediction of strings": ("POST", "/api/predictions", BYTES, {422}),
    "prediction of no numbers": ("POST", "/api/predictions", NAMES, {201}),
    "prediction that is no JSON": ("POST", "/api/predictions", PREDICTION[:-1], {400}),
    "model by URL": ("GET", "/api/models/identity", None, {200}),
    "page": ("GET", "/api/predictions?limit=500", None, {200}),
    "page for people": ("GET", "/api/predictions?limit=500", None, {200}),
    "reference": ("GET", "/openapi.json", None, {200}),
}
OF_ONE = {
    "read": ("GET", "", None, {200}),
    "read by people": ("GET", "", None, {200}),
    "exchange": ("GET", "/exchange", None, {200}),
    "change": ("PATCH", "", b'{"note":"a","label":%s}' % FLOATS, {422}),
    "replace": ("PUT", "", PREDICTION, {200}),
    "delete": ("DELETE", "", None, {204}),
}


def ask(base, method, path, body=None, **headers):
    at = urlsplit(base)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **headers})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


MANY = 100
SMALL = {"name": "x", "datatype": "FP32", "shape": [1, 64], "data": [0.5] * 64}
SMALL_INFER = json.dumps({"inputs": [SMALL]}).encode()
SMALL_PREDICTION = {"model": "digits", "inputs": [SMALL]}
AT_ONCE_SECONDS = 2 * 0.020
"""As above, for bodies of less than a MiB in all."""


def pipelined(base, path, body) -> list[bytes]:
    """The statuses of `MANY` equal requests that one connection sends in one piece."""
    at = urlsplit(base)
    head = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n"
    with socket.create_connection((at.hostname, at.port), timeout=60) as client:
        client.sendall(MANY * (head % (path.encode(), len(body)) + body))
        replies = b""
        while len(statuses := re.findall(rb"HTTP/1.1 (\d+) ", replies)) < MANY:
            replies += client.recv(1 << 20) or pytest.fail(f"closed after {len(statuses)} replies")
    return statuses


def longest_turn(base) -> float:
    text = ask(base, "GET", "/metrics")[2].decode()
    found = re.search(r"^crossover_event_loop_longest_turn_cpu_seconds (\S+)$", text, re.MULTILINE)
    return float(found[1])


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    with started(tmp_path_factory.mktemp("turns")) as stack:
        yield stack


@contextmanager
def started(folder):
    settings = {
        "DATA_DIR": str(folder),
        "GATEWAY_REPOSITORY_CONTROL": "1",
        "MODEL_UPLOADS": "1",
        "MODEL_SERVER_SHARED_MEMORY": "1",
        "GATEWAY_UPSTREAM_HEADER": "1",
    }
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        yield stack


def held(stack, table, base, prefix=""):
    """The routes of a table that answered otherwise than they say, and those after which the watch had seen too long a turn."""
    wrong = []
    for name, (method, path, body, statuses) in table.items():
        accept = {"Accept": "text/html"} if "people" in name else {}
        status, _, reply = ask(base, method, prefix + path, body, **{"If-Match": "*"} if prefix else {}, **accept)
        longest = max(longest_turn(stack.gateway_url), longest_turn(stack.rest_url))
        if status not in statuses or longest > BOUND_SECONDS:
            wrong.append((name, status, reply[:200] if status >= 400 else b"", longest))
    return wrong


@pytest.mark.parametrize("service", ["model server", "gateway"])
def test_no_route_of_the_protocol_keeps_the_loop(services, service):
    """A body of 16 MiB on each route of /v1 and /v2 costs no turn of the loop more than its bound."""
    assert not held(services, OIP, services.rest_url if service == "model server" else services.gateway_url)


def test_no_route_under_api_keeps_the_loop(services):
    """Nor on the gateway's own resources, on what is made of such a body, nor when it is read again."""
    assert not held(services, API, services.gateway_url)
    _, headers, _ = ask(services.gateway_url, "POST", "/api/predictions", PREDICTION)
    assert not held(services, OF_ONE, services.gateway_url, headers["Location"])


def test_a_job_of_the_queue_does_not_keep_the_loop(services):
    """What was accepted with 202 is read again, by a worker, before it runs."""
    base = services.gateway_url
    assert ask(base, "POST", "/api/predictions", PREDICTION, Prefer="respond-async, wait=30")[0] == 201
    assert longest_turn(base) <= BOUND_SECONDS


def test_many_small_requests_at_once_let_others_between(tmp_path):
    """A hundred that one connection has pipelined, and a hundred in one body, are answered over several turns."""
    with started(tmp_path) as stack:
        bases = stack.gateway_url, stack.rest_url
        several = json.dumps({"requests": [SMALL_PREDICTION] * MANY}).encode()
        for base in bases:
            assert set(pipelined(base, "/v2/models/digits/infer", SMALL_INFER)) == {b"200"}
        assert max(map(longest_turn, bases)) <= AT_ONCE_SECONDS
        single = json.dumps(SMALL_PREDICTION).encode()
        assert set(pipelined(stack.gateway_url, "/api/predictions", single)) == {b"201"}
        assert ask(stack.gateway_url, "POST", "/api/predictions", several)[0] == 201
        assert ask(stack.gateway_url, "POST", "/api/predictions", several, Prefer="respond-async")[0] == 202
        assert longest_turn(stack.gateway_url) <= AT_ONCE_SECONDS


def test_the_first_use_of_an_upstream_keeps_nobody_waiting(tmp_path):
    """What it imports (for `inprocess` that is ONNX Runtime) is imported beside the loop."""
    with started(tmp_path) as stack:
        for upstream in WIRES:
            headers = {"Inference-Upstream": upstream}
            assert ask(stack.gateway_url, "POST", "/v2/models/digits/infer", SMALL_INFER, **headers)[0] == 200
        assert longest_turn(stack.gateway_url) <= AT_ONCE_SECONDS
