"""TLS on every port and on the hop, by settings alone."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from crossover.clients import __main__ as clients
from crossover.protocol import deadline
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import WIRES, Target, connect
from crossover.rest_gateway import __main__ as rest_gateway
from crossover.stack.services import ServiceProcess, free_ports, running
from tests.programs import called


def _self_signed(folder: Path, names: str) -> tuple[str, str]:
    """A certificate that is its own authority, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", f"subjectAltName={names}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return str(cert), str(key)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """For loopback."""
    return _self_signed(tmp_path_factory.mktemp("tls"), "DNS:localhost,IP:127.0.0.1")


@pytest.fixture(scope="module")
def certificate_of_a_name(tmp_path_factory):
    """For the name, and no address."""
    return _self_signed(tmp_path_factory.mktemp("tls"), "DNS:localhost")


@pytest.fixture(scope="module", params=["server certificates", "client certificates too"])
def secured(request, certificate, tmp_path_factory):
    """A stack with TLS everywhere, and what its callers need to show."""
    cert, key = certificate
    mutual = request.param == "client certificates too"
    settings = {
        "MODEL_SERVER_TLS_CERT": cert, "MODEL_SERVER_TLS_KEY": key,
        "GATEWAY_TLS_CERT": cert, "GATEWAY_TLS_KEY": key, "UPSTREAM_TLS_CA": cert,
        "GATEWAY_UPSTREAM_HEADER": "1", "DATA_DIR": str(tmp_path_factory.mktemp("data")),
    }  # fmt: skip
    if mutual:
        settings |= {"MODEL_SERVER_TLS_CLIENT_CA": cert, "UPSTREAM_TLS_CERT": cert, "UPSTREAM_TLS_KEY": key}
    log = (tmp_path_factory.mktemp("log") / "log").open("wb")
    with log, running(settings, log) as stack:
        yield stack, mutual


@pytest.mark.parametrize("upstream", [name for name, wire in WIRES.items() if wire.kind != "process"])
def test_every_upstream_goes_over_tls(secured, certificate, upstream):
    """The gateway answers over HTTPS and reaches the model server over TLS on every wire."""
    stack, _ = secured
    context = ssl.create_default_context(cafile=certificate[0])
    request = urllib.request.Request(
        f"{stack.gateway_url}/v2/models/identity/infer",
        json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [2.5]}]}).encode(),
        {"Inference-Upstream": upstream, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30, context=context) as reply:
        assert reply.headers["Inference-Upstream"] == upstream
        assert json.loads(reply.read())["outputs"][0]["data"] == [2.5]


@pytest.mark.parametrize("wire", ["grpc", "rest"])
def test_the_command_line_goes_over_tls(secured, certificate, root, wire):
    """With the authority, and the caller's own certificate where it is asked for; without them it is refused."""
    stack, mutual = secured
    where = ["--grpc", stack.grpc_target, "--rest", stack.rest_url, "--wire", wire, "--timeout", "10"]
    shown = ["--ca", certificate[0], *(["--cert", certificate[0], "--key", certificate[1]] if mutual else [])]

    def health(*flags):
        return called(clients.main, "health", *where, *flags)

    assert health(*shown).stdout.startswith("ready: ")
    assert health().returncode == 1
    if mutual:
        assert health("--ca", certificate[0]).returncode == 1


def test_plain_text_to_a_port_with_tls_is_no_answer(secured):
    """Nothing is served without TLS where TLS is set."""
    stack, _ = secured
    with pytest.raises(OSError, match=r"reset|closed|disconnected"):
        urllib.request.urlopen(stack.gateway_url.replace("https", "http") + "/v2", timeout=10)


def test_files_that_do_not_fit_are_one_sentence(certificate):
    """A key in the place of a certificate is refused at start, with the files named."""
    wrong = {"GATEWAY_TLS_CERT": certificate[1], "GATEWAY_TLS_KEY": certificate[0], "GATEWAY_PORT": "0"}
    ended = called(rest_gateway.main, environment=wrong)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"cannot use certificate {certificate[1]} with key {certificate[0]}")
    assert ended.stderr.count("\n") == 1


async def test_replicas_of_a_name_are_trusted_by_that_name(certificate_of_a_name, tmp_path):
    """Of `dns:///` each address is a replica, and its certificate is for the name, whatever speaks TLS."""
    cert, key = certificate_of_a_name
    rest, grpc = free_ports(2)
    environment = {
        "MODEL_SERVER_HTTP_PORT": str(rest), "MODEL_SERVER_GRPC_PORT": str(grpc), "MODEL_SERVER_TLS_CERT": cert,
        "MODEL_SERVER_TLS_KEY": key,
    }  # fmt: skip
    request = InferRequest("identity", [Tensor.from_array("x", np.ones((1, 2), "f4"))])
    with (tmp_path / "log").open("wb") as log:
        service = ServiceProcess("model_server", environment, ("127.0.0.1", rest), log, secure=True)
        try:
            service.await_ready()
            for wire in ("grpc", "grpc-lean", "grpc-stream", "rest-binary"):
                ends = []
                for host in ("dns:///localhost:", "127.0.0.1:"):
                    scheme = "" if host.startswith("dns") else "https://"
                    client = connect(wire, Target(f"{host}{grpc}", f"{scheme}{host}{rest}", Path(cert)))
                    try:
                        ends.append((await client.infer(request, CallContext(deadline.after(20)))).model_name)
                    except InferenceError as error:
                        ends.append(error.code.name)
                    finally:
                        await client.close()
                assert (wire, *ends) == (wire, "identity", "UNAVAILABLE")
        finally:
            service.stop()
