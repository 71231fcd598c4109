"""Services on one host may meet on Unix sockets: the same answers, no TCP between them."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request

import pytest

from crossover.clients import connect_sync
from crossover.comparison.machine import sockets
from crossover.stack.services import running


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A model server with sockets in a folder of its own, and a gateway that knows nothing but these."""
    folder = tmp_path_factory.mktemp("sockets")
    settings = {
        "MODEL_SERVER_UNIX_SOCKETS": str(folder),
        "GATEWAY_GRPC_TARGET": f"unix:{folder / 'grpc.sock'}",
        "GATEWAY_REST_TARGET": f"unix:{folder / 'rest.sock'}",
        "GATEWAY_UPSTREAM_HEADER": "1",
        "DATA_DIR": str(folder),
    }
    with (folder / "crossover.stack.log").open("wb") as log, running(settings, log) as stack:
        yield stack


def infer(stack, upstream):
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}]}
    request = urllib.request.Request(
        f"{stack.gateway_url}/v2/models/identity/infer", json.dumps(body).encode(), {"Inference-Upstream": upstream}
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.load(reply)["outputs"][0]["data"]


@pytest.mark.parametrize("upstream", ["grpc", "grpc-stream", "rest", "rest-binary"])
def test_the_gateway_reaches_the_model_server_without_tcp(stack, upstream):
    """Every wire goes over its socket, and the model server's TCP ports carry nothing of it."""
    ports = [int(stack.environment[name]) for name in ("MODEL_SERVER_HTTP_PORT", "MODEL_SERVER_GRPC_PORT")]
    before = sockets.traffic(ports)
    assert infer(stack, upstream) == [1.5, -2.0]
    assert sockets.traffic(ports) == before


def test_a_client_of_ours_reaches_it_too(stack):
    """`unix:PATH` is a target like host:port and a URL."""
    grpc, rest = (stack.environment[name] for name in ("GATEWAY_GRPC_TARGET", "GATEWAY_REST_TARGET"))
    for wire in ("grpc", "rest"):
        with connect_sync(wire, grpc=grpc, rest=rest) as client:
            assert client.ready()


def test_a_killed_server_leaves_no_socket_in_its_successors_way(stack):
    """After kill -9 the files are still there; the next start takes their place and the gateway finds it again."""
    stack.model_server.signal(signal.SIGKILL)
    stack.model_server.wait(10)
    with pytest.raises(urllib.error.HTTPError):
        infer(stack, "rest")
    stack.model_server = stack.start_model_server()
    stack.await_ready()
    assert infer(stack, "rest") == infer(stack, "grpc") == [1.5, -2.0]
