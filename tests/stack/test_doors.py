"""Attacks and rightful callers at every door of both services, as real processes."""

from __future__ import annotations

import base64
import http.client
import json
import re
import time

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from crossover.model_server import __main__ as model_server
from crossover.protos import inference as pb
from crossover.rest_gateway import __main__ as rest_gateway
from crossover.stack.services import running
from tests.graphs import echo_graph, save
from tests.programs import called

SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.5]}]}).encode()
PREDICTION = json.dumps({"model": "m", **json.loads(BODY)}).encode()
UPLOAD = json.dumps({"parameters": {"config": "{}", "file:1/model.onnx": base64.b64encode(b"x").decode()}}).encode()


class Http:
    """Requests as an attacker writes them, with any Host and any fields."""

    def __init__(self, port):
        self.port = port

    def __call__(self, method, path, body=b"", **fields):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            sent = {"host": f"127.0.0.1:{self.port}"} | {
                name.replace("_", "-"): value for name, value in fields.items()
            }
            for name, value in sent.items():
                connection.putheader(name, value)
            if path == "/api/predictions" and "content-type" not in sent:
                connection.putheader("content-type", "application/json")
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return reply.status, found, reply.read()
        finally:
            connection.close()


def call(channel, path, request, kind, key=None, timeout=30):
    """The status of a gRPC call."""
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    method = channel.unary_unary(path, lambda message: message.SerializeToString(), kind.FromString)
    try:
        method(request, metadata=metadata, timeout=timeout)
    except grpc.RpcError as error:
        return error.code().name
    return "OK"


def oip(channel, called, key=None, **fields):
    method = pb.METHODS[called]
    return call(channel, f"/{pb.SERVICE}/{called}", method.request(**fields), method.response, key)


def infer_message():
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP32", shape=[1, 1])
    return {"model_name": "m", "inputs": [tensor], "raw_input_contents": [np.float32(2.5).tobytes()]}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    save(folder, "m", echo_graph("FP32"))
    return folder


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory):
    """A file made by the command, and the key of each scope in it."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    return path, {scope: add(path, scope, scope) for scope in ("infer", "predictions", "control", "metrics")}


def add(path, name, scopes):
    done = called(rest_gateway.main, "keys", "add", name, "--scopes", scopes, environment={"API_KEYS_FILE": str(path)})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def plain(repository, tmp_path_factory):
    """Both services as they are on a developer's machine, load and unload allowed at the gateway; and their log."""
    folder = tmp_path_factory.mktemp("plain")
    settings = {
        "MODEL_REPOSITORY": str(repository), "DATA_DIR": str(folder / "data"), "GATEWAY_REPOSITORY_CONTROL": "auto",
        "GATEWAY_UPSTREAM_HEADER": "1", "ALLOWED_HOSTS": "app.example,.inner.example", "CORS_ALLOW_ORIGINS": "https://app.example",
        "ACCESS_LOG": "1",
    }  # fmt: skip
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        yield stack, folder


@pytest.fixture(scope="module", params=["grpcio", "lean"])
def guarded(request, repository, keys_file, tmp_path_factory):
    """Both services with keys, by either gRPC library."""
    folder = tmp_path_factory.mktemp("guarded")
    path, tokens = keys_file
    own = folder / "own"
    own.write_text(add(path, f"gateway-{request.param}", "infer,control"))
    settings = {
        "MODEL_REPOSITORY": str(repository), "DATA_DIR": str(folder / "data"), "API_KEYS_FILE": str(path),
        "UPSTREAM_API_KEY_FILE": str(own), "GATEWAY_UPSTREAM_HEADER": "1", "GATEWAY_REPOSITORY_CONTROL": "1",
        "MODEL_SERVER_GRPC_LIBRARY": request.param,
    }  # fmt: skip
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        yield stack, tokens, own, folder / "log"


def ports(stack):
    return {name: Http(int(stack.environment[f"{name}_PORT"])) for name in ("GATEWAY", "MODEL_SERVER_HTTP")}


EVIL = {"origin": "http://evil.example"}
UNLOAD, LOAD, INFER = "/v2/repository/models/m/unload", "/v2/repository/models/m/load", "/v2/models/m/infer"
ATTACKS = [
    ("POST", UNLOAD, b"", EVIL | {"content_type": "text/plain"}, 403),
    ("POST", LOAD, UPLOAD, EVIL | {"content_type": "text/plain"}, 403),
    ("POST", UNLOAD, b"", {"origin": "null"}, 403),
    ("POST", UNLOAD, b"", {"sec_fetch_site": "cross-site"}, 403),
    ("POST", UNLOAD, b"", {"sec_fetch_site": "same-site", "content_type": "application/x-www-form-urlencoded"}, 403),
    ("POST", INFER, BODY, EVIL, 403),
    ("POST", INFER, BODY, {"origin": "http://127.0.0.1:1"}, 403),
    ("DELETE", "/api/predictions/x", b"", EVIL, 403),
    ("POST", "/api/predictions", PREDICTION, {"sec_fetch_site": "cross-site"}, 403),
    ("POST", "/nowhere", b"", EVIL, 403),
    ("GET", "/v2", b"", {"host": "evil.example"}, 421),
    (
        "POST",
        INFER,
        BODY,
        {"host": "evil.example", "origin": "http://evil.example", "sec_fetch_site": "same-origin"},
        421,
    ),
    ("DELETE", "/api/predictions/x", b"", {"host": "evil.example:8080"}, 421),
    ("GET", "/metrics", b"", {"host": "localhost.evil.example"}, 421),
    ("GET", "/docs", b"", {"host": "evil.example"}, 421),
    ("GET", "http://evil.example/v2", b"", {}, 421),
    ("POST", LOAD, UPLOAD, {}, 403),
    ("POST", "/v2/repository/models/x%0aINFO%20crossover:%20forged/load", b"", {}, 400),
    ("GET", "/v2/models/x%1b%5b2J", b"", {}, 400),
    ("GET", "/v2/models/x%00/ready", b"", {}, 400),
    ("GET", "/static/vendor.py", b"", {}, 404),
    ("GET", "/static/vendor/swagger-ui/LICENSE", b"", {}, 404),
    ("GET", "/page/../app.py", b"", {}, 404),
]
RIGHTFUL = [
    ("POST", INFER, BODY, {}, 200),
    ("POST", INFER, BODY, {"content_type": "text/plain"}, 200),
    ("POST", INFER, BODY, {"content_type": "application/x-www-form-urlencoded"}, 200),
    ("POST", INFER, BODY, {"sec_fetch_site": "none"}, 200),
    ("POST", INFER, BODY, {"origin": "https://app.example", "sec_fetch_site": "cross-site"}, 200),
    ("GET", "/v2", b"", EVIL | {"sec_fetch_site": "cross-site"}, 200),
    ("GET", "/v2", b"", {"host": "app.example"}, 200),
    ("GET", "/v2", b"", {"host": "a.inner.example:99"}, 200),
    ("GET", "/v2", b"", {"host": "LOCALHOST:1"}, 200),
    ("GET", "/v2", b"", {"host": "[::1]:1"}, 200),
    ("GET", "/v2", b"", {"host": "10.9.8.7"}, 200),
    ("POST", "/v2/repository/models/m/load", b"", {}, 200),
]


GATEWAYS_OWN = ("/api", "/static", "/page", "/docs", "/nowhere")
"""Paths of resources that the model server does not have; what is refused before it looks is refused there too."""


@pytest.mark.parametrize(
    ("service", "method", "path", "body", "fields", "status"),
    [
        (service, *case)
        for case in ATTACKS + RIGHTFUL
        for service in ("GATEWAY", "MODEL_SERVER_HTTP")
        if service == "GATEWAY" or not (case[1].startswith(GATEWAYS_OWN) and case[4] in (200, 404))
    ],
)
def test_what_other_sites_and_strangers_ask_for(plain, service, method, path, body, fields, status):
    """Each is refused, or served, alike at both services; every reply has the security fields and names no software."""
    stack, _ = plain
    code, found, said = ports(stack)[service](method, path, body, **fields)
    assert code == status, said
    assert SECURITY.items() <= found.items()
    assert "content-security-policy" in found
    assert "server" not in found
    if status == 421:
        assert b"ALLOWED_HOSTS" in said
    if path == LOAD and body and "origin" not in fields:
        assert b"MODEL_UPLOADS" in said
    if service == "GATEWAY" and path.startswith("/api") and status >= 400:
        assert found["content-type"] == "application/problem+json"


def test_our_own_pages_change_things(plain):
    """The origin of the request itself, in any case, is no stranger."""
    stack, _ = plain
    for port in ports(stack).values():
        own = f"HTTP://127.0.0.1:{port.port}"
        assert port("POST", INFER, BODY, origin=own, sec_fetch_site="same-origin")[0] == 200
        assert port("POST", INFER, BODY, origin=own, host=f"localhost:{port.port}")[0] == 403


@pytest.mark.parametrize("path", ["/", "/v2", "/docs", "/static/docs.js", "/openapi.json", "/page/main.js", "/reports", "/metrics",
                                  "/api/predictions", "/api/nothing", "/nothing", "/v2/nothing", "/v2/health/live"])  # fmt: skip
def test_every_reply_has_the_security_fields(plain, path):
    """Pages, files, resources and errors alike, each field once."""
    stack, _ = plain
    _, found, _ = ports(stack)["GATEWAY"]("GET", path, accept="text/html, */*")
    assert SECURITY.items() <= found.items()
    assert "frame-ancestors 'none'" in found["content-security-policy"]


def test_malformed_requests_have_them_too(plain):
    """What the connection itself refuses is no exception."""
    stack, _ = plain
    for port in ports(stack).values():
        status, found, _ = port("GET", "/v2", host="a b")
        assert status == 400
        assert SECURITY.items() <= found.items()


def test_pages_of_allowed_origins(plain):
    """Preflights are answered, replies name the origin, and vary by it."""
    stack, _ = plain
    for port in ports(stack).values():
        asked = {"access_control_request_method": "POST", "access_control_request_headers": "content-type"}
        status, found, _ = port("OPTIONS", INFER, origin="https://app.example", **asked)
        assert (status, found["access-control-allow-origin"]) == (204, "https://app.example")
        assert found["access-control-allow-headers"] == "content-type"
        _, found, _ = port("POST", INFER, BODY, origin="https://app.example")
        assert (found["access-control-allow-origin"], found["vary"]) == ("https://app.example", "Origin")
        _, found, _ = port("OPTIONS", INFER, **EVIL, **asked)
        assert "access-control-allow-origin" not in found
        assert "access-control-allow-origin" not in port("GET", "/v2", **EVIL)[1]


def test_grpc_does_not_look_at_its_authority(plain):
    """Proxies and service meshes write what they like there; uploads and names are refused as over REST."""
    stack, _ = plain
    options = [("grpc.default_authority", "evil.example")]
    with grpc.insecure_channel(stack.grpc_target, options) as channel:
        assert oip(channel, "ServerLive") == "OK"
        load = pb.RepositoryModelLoadRequest(model_name="m")
        load.parameters["config"].string_param = "{}"
        path = f"/{pb.SERVICE}/RepositoryModelLoad"
        assert call(channel, path, load, pb.RepositoryModelLoadResponse) == "PERMISSION_DENIED"
        for name, fields in {
            "ModelReady": {"name": "x\nINFO crossover: forged"}, "ModelInfer": {"model_name": "x\x1b[2J"},
            "RepositoryModelUnload": {"model_name": "\x00"}, "ModelConfig": {"name": "\u202egnp"},
        }.items():  # fmt: skip
            assert oip(channel, name, **fields) == "INVALID_ARGUMENT"


def test_the_log_has_no_line_that_somebody_wrote(plain):
    """After all of the above every line begins as the log's own lines do."""
    stack, folder = plain
    port = ports(stack)["GATEWAY"]
    port("GET", "/%0a12:00:00%20INFO%20%20%20%20crossover:%20forged")
    port("POST", "/v2/repository/models/x%0aINFO%20crossover%20forged/unload")
    lines = (folder / "log").read_bytes().decode().split("\n")[:-1]
    own = re.compile(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[-+]\d{4} (DEBUG|INFO|WARNING|ERROR) +crossover[\w.]*: |    "
    )
    assert [line for line in lines if not own.match(line)] == []


def test_data_is_its_owners(plain):
    """The database and its journals are 0600 in a folder of 0700."""
    stack, folder = plain
    ports(stack)["GATEWAY"]("POST", "/api/predictions", PREDICTION)
    files = list((folder / "data").iterdir())
    assert {file.name.rpartition("-")[2] for file in files} >= {"wal", "shm"}
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}
    assert (folder / "data").stat().st_mode & 0o777 == 0o700


SECRETS = [
    "X-Auth-Token", "X-Goog-Api-Key", "X-Amz-Security-Token", "X-Vault-Token", "Authorization", "Cookie", "X-Api-Key",
    "Proxy-Authorization", "Api-Key", "X-Csrf-Token", "X-Whatever", "Ocp-Apim-Subscription-Key", "Private-Token",
]  # fmt: skip


def test_an_exchange_shows_no_secret(plain):
    """Of fields that are not known to be harmless the names are kept, and the values are not; a query is not kept either."""
    stack, folder = plain
    port = ports(stack)["GATEWAY"]
    sent = {name.replace("-", "_"): "sesame-1234" for name in SECRETS}
    _, _, said = port("POST", "/api/predictions?token=sesame-1234", PREDICTION, content_type="application/json", **sent)
    place = json.loads(said)["links"]["exchange"]
    _, _, said = port("GET", place)
    assert b"sesame" not in said
    shown = dict(json.loads(said)["http"]["request"]["headers"])
    for name in SECRETS:
        assert shown[name.lower()] == "(not kept)"
    assert shown["content-type"] == "application/json"
    for file in (folder / "data").iterdir():
        assert b"sesame" not in file.read_bytes()


# keys

WITH_SCOPE = [
    ("infer", "GET", "/v2", b""), ("infer", "POST", INFER, BODY), ("infer", "POST", "/v2/repository/index", b""),
    ("infer", "GET", "/v2/models/m/config", b""), ("control", "POST", LOAD, b""),
    ("metrics", "GET", "/metrics", b""),
]  # fmt: skip
AT_THE_GATEWAY = [
    ("predictions", "GET", "/api/predictions", b""), ("predictions", "GET", "/%61pi/predictions", b""),
    ("predictions", "POST", "/api/predictions", PREDICTION), ("metrics", "GET", "/reports", b""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service", "scope", "method", "path", "body"),
    [(service, *row) for service in ("GATEWAY", "MODEL_SERVER_HTTP") for row in WITH_SCOPE] + [("GATEWAY", *row) for row in AT_THE_GATEWAY],
)  # fmt: skip
def test_each_path_has_its_scope(guarded, service, scope, method, path, body):
    """401 without a key and with a wrong one, 403 with every other scope, served with the right one."""
    stack, tokens, *_ = guarded
    port = ports(stack)[service]
    for wrong in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic YTpi"}):
        status, found, _ = port(method, path, body, **wrong)
        assert (status, found["www-authenticate"][:24]) == (401, 'Bearer realm="crossover"')
        assert found["cache-control"] == "no-store"
    for other, token in tokens.items():
        status, found, said = port(method, path, body, authorization=f"Bearer {token}")
        if other == scope:
            assert status in (200, 201), said
            assert "public" not in found["cache-control"]
        else:
            assert status == 403
            assert 'error="insufficient_scope"' in found["www-authenticate"]
            assert f'scope="{scope}"' in found["www-authenticate"]


def test_health_needs_no_key(guarded):
    """On both wires and both services; nor do our own pages, which hold no data. What nobody serves is 401 all the same."""
    stack, *_ = guarded
    for port in ports(stack).values():
        for path in ("/", "/v2/health/live", "/v2/health/ready", "/v2/models/m/ready", "/v2/models/m/versions/1/ready"):
            assert port("GET", path)[0] == 200
        assert port("GET", "/nothing")[0] == 401
    for path in ("/docs", "/static/docs.js", "/page/main.js", "/openapi.json"):
        assert ports(stack)["GATEWAY"]("GET", path)[0] == 200
    check, watched = "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest()
    with grpc.insecure_channel(stack.grpc_target) as channel:
        assert call(channel, check, watched, health_pb2.HealthCheckResponse) == "OK"
        assert oip(channel, "ServerReady") == oip(channel, "ServerLive") == oip(channel, "ModelReady", name="m") == "OK"


@pytest.mark.parametrize(
    ("scope", "name", "fields"),
    [("infer", "ServerMetadata", {}), ("infer", "ModelInfer", infer_message()), ("infer", "ModelStatistics", {}),
     ("infer", "RepositoryIndex", {}), ("control", "RepositoryModelLoad", {"model_name": "m"})],
)  # fmt: skip
def test_each_call_has_its_scope(guarded, scope, name, fields):
    """UNAUTHENTICATED, PERMISSION_DENIED and OK over gRPC."""
    stack, tokens, *_ = guarded
    with grpc.insecure_channel(stack.grpc_target) as channel:
        assert oip(channel, name, **fields) == oip(channel, name, "wrong", **fields) == "UNAUTHENTICATED"
        for other, token in tokens.items():
            assert oip(channel, name, token, **fields) == ("OK" if other == scope else "PERMISSION_DENIED")


def test_streams_and_reflection_need_a_key(guarded):
    """A stream is refused when it is opened, before a message of it is read."""
    stack, tokens, *_ = guarded
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    streams = [("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", asked),
               ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", asked),
               (f"/{pb.SERVICE}/ModelStreamInfer", [pb.ModelInferRequest(**infer_message())])]  # fmt: skip
    with grpc.insecure_channel(stack.grpc_target) as channel:
        for path, messages in streams:
            stream = channel.stream_stream(path, lambda message: message.SerializeToString())
            with pytest.raises(grpc.RpcError) as caught:
                list(stream(iter(messages), timeout=30))
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            bearer = (("authorization", f"Bearer {tokens['infer']}"),)
            assert len(list(stream(iter(messages), timeout=30, metadata=bearer))) == 1


UPSTREAMS = [
    "grpc",
    "grpc-typed",
    "grpc-lean",
    "grpc-stream",
    "rest",
    "rest-binary",
    "grpc-coalesced",
    "rest-coalesced",
]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_the_gateway_shows_its_own_key(guarded, upstream):
    """On every wire, whatever its caller showed; neither key is in an exchange, the log or the data."""
    stack, tokens, own, log = guarded
    port = ports(stack)["GATEWAY"]
    bearer = f"Bearer {tokens['predictions']}"
    status, _, said = port("POST", "/api/predictions", PREDICTION, authorization=bearer, inference_upstream=upstream)
    assert status == 201, said
    _, _, said = port("GET", json.loads(said)["links"]["exchange"], authorization=bearer)
    assert json.loads(said)["upstream"]["name"] == upstream
    for secret in (own.read_text(), tokens["predictions"]):
        assert secret.encode() not in said
        assert secret.encode() not in log.read_bytes()


def test_keys_are_read_again(repository, tmp_path):
    """A key that is added is taken, one that is removed is not, and a broken file leaves them as they are with one line."""
    path = tmp_path / "keys"
    first = add(path, "first", "infer")
    settings = {"MODEL_REPOSITORY": str(repository), "DATA_DIR": str(tmp_path / "data"), "API_KEYS_FILE": str(path)}
    with (tmp_path / "log").open("wb") as log, running(settings, log) as stack:
        port = ports(stack)["MODEL_SERVER_HTTP"]

        def becomes(key, status, seconds=20):
            until = time.monotonic() + seconds
            while (
                found := port("GET", "/v2", authorization=f"Bearer {key}")[0]
            ) != status and time.monotonic() < until:
                time.sleep(0.1)
            return found == status

        second = add(path, "second", "infer")
        assert becomes(second, 200)
        assert called(rest_gateway.main, "keys", "remove", "first", "--file", path).returncode == 0
        assert becomes(first, 401)
        good = path.read_text()
        path.write_text("nonsense\n")
        until = time.monotonic() + 20
        while b"line 1 of" not in (tmp_path / "log").read_bytes() and time.monotonic() < until:
            assert port("GET", "/v2", authorization=f"Bearer {second}")[0] == 200
            time.sleep(0.1)
        for _ in range(5):
            assert port("GET", "/v2", authorization=f"Bearer {second}")[0] == 200
        said = (tmp_path / "log").read_text()
        assert said.count("line 1 of") == 1
        assert str(path) not in said
        assert port("POST", INFER, BODY, authorization="Bearer nonsense")[0] == 401
        path.write_text(good)
        gateway = ports(stack)["GATEWAY"]("POST", INFER, BODY, authorization=f"Bearer {second}")
        assert gateway[0] == 503
        assert b"UPSTREAM_API_KEY_FILE" in gateway[2]


@pytest.mark.parametrize("program", [rest_gateway, model_server], ids=["rest_gateway", "model_server"])
@pytest.mark.parametrize(
    ("content", "says"), [(None, "no such file"), ("", "empty"), ("nonsense", "line 1"), ("a root sha256:00", "line 1")]
)
def test_a_broken_keys_file_is_no_start(tmp_path, program, content, says):
    """One sentence and exit code 2."""
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    settings = {"API_KEYS_FILE": str(path), "DATA_DIR": str(tmp_path), "GATEWAY_PORT": "0", "MODEL_SERVER_HTTP_PORT": "0",
                "MODEL_SERVER_GRPC_PORT": "0"}  # fmt: skip
    done = called(program.main, environment=settings)
    assert done.returncode == 2
    assert says in done.stderr.splitlines()[-1]


# rates and public ports


def test_rates(repository, tmp_path):
    """429 with when to come back, on both wires, for the caller that asks too often alone; health is never limited."""
    settings = {
        "MODEL_REPOSITORY": str(repository), "DATA_DIR": str(tmp_path / "data"), "GATEWAY_RATE_LIMIT": "0.01",
        "GATEWAY_RATE_BURST": "3", "MODEL_SERVER_RATE_LIMIT": "0.01", "MODEL_SERVER_RATE_BURST": "3",
        "FORWARDED_ALLOW_IPS": "127.0.0.1",
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log, running(settings, log) as stack:
        for name, port in reversed(ports(stack).items()):
            fields = {"x_forwarded_for": f"203.0.113.{len(name)}"}
            for left in (2, 1, 0):
                status, found, _ = port("GET", "/docs" if name == "GATEWAY" else "/v2", **fields)
                assert (status, found["ratelimit-policy"]) == (200, '"rate";q=3;w=300')
                assert found["ratelimit"].startswith(f'"rate";r={left};t=')
            status, found, said = port("GET", "/v2", **fields)
            assert (status, json.loads(said)["code"]) == (429, "OVERLOADED")
            assert int(found["retry-after"]) >= 90
            assert found["ratelimit"].startswith('"rate";r=0;t=')
            assert port("GET", "/nothing", x_forwarded_for=f"6.6.6.6, 203.0.113.{len(name)}")[0] == 429
            for _ in range(10):
                assert port("GET", "/v2/health/ready", **fields)[0] == 200
            assert port("GET", "/nothing", x_forwarded_for=f"203.0.113.{100 + len(name)}")[0] == 404
        with grpc.insecure_channel(stack.grpc_target) as channel:
            codes = [oip(channel, "ServerMetadata") for _ in range(8)]
            assert codes[-1] == "RESOURCE_EXHAUSTED"
            assert oip(channel, "ServerLive") == "OK"
            stream = channel.stream_stream(f"/{pb.SERVICE}/ModelStreamInfer", lambda message: message.SerializeToString(),
                                           pb.ModelStreamInferResponse.FromString)  # fmt: skip
            answers = list(stream(iter([pb.ModelInferRequest(**infer_message())] * 3), timeout=30))
            assert all("MODEL_SERVER_RATE_LIMIT" in answer.error_message for answer in answers)


def test_a_public_port_without_keys_warns_and_has_no_control(repository, tmp_path):
    """One line in the log of each service; load and unload are off unless they are asked for by name."""
    settings = {
        "MODEL_REPOSITORY": str(repository), "DATA_DIR": str(tmp_path / "data"), "MODEL_SERVER_HOST": "0.0.0.0",
        "GATEWAY_HOST": "0.0.0.0", "GATEWAY_REPOSITORY_CONTROL": "auto",
    }  # fmt: skip
    with (tmp_path / "log").open("wb") as log, running(settings, log) as stack:
        for name, port in ports(stack).items():
            status, _, said = port("POST", UNLOAD)
            assert (status, b"REPOSITORY_CONTROL=1" in said) == (403, True), name
            assert port("POST", INFER, BODY)[0] == 200
        with grpc.insecure_channel(stack.grpc_target) as channel:
            assert oip(channel, "RepositoryModelUnload", model_name="m") == "PERMISSION_DENIED"
        warned = [line for line in (tmp_path / "log").read_text().splitlines() if "WARNING" in line]
        assert sorted(line.split(": ")[1].split(" is bound")[0] for line in warned) == ["gateway", "model server"]
        assert all("API_KEYS_FILE" in line for line in warned)
