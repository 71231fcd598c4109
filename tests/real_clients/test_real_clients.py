"""Clients that know nothing of us work unmodified, each in its own process."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CLIENTS = HERE.parent.parent / ".venv-clients" / "bin" / "python"
BIN = Path(sys.executable).parent

needs_clients = pytest.mark.skipif(
    not CLIENTS.exists(), reason=".venv-clients is not installed (make test installs it)"
)


def ran(*command: str | Path, within: float = 90, **more) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=within, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def bare(url: str) -> str:
    return url.removeprefix("http://")


def all_pass(script: str, rows: list[str]) -> None:
    """One process of the client works through `rows`: what it imports takes longer than what it asks."""
    assert ran(CLIENTS, HERE / script, *rows).splitlines() == [f"passed {row}" for row in rows]


@needs_clients
@pytest.mark.clients
def test_tritonclient(stack):
    """tritonclient's clients of both wires round-trip every datatype: binary, JSON where JSON carries it, and by a stream."""
    over_http = [
        f"{kind},{bare(url)},{form}"
        for url in (stack.rest_url, stack.gateway_url)
        for kind in ("http", "http.aio")
        for form in ("binary", "json")
    ]
    all_pass(
        "triton_round_trip.py", [*over_http, *(f"{kind},{stack.grpc_target},binary" for kind in ("grpc", "grpc.aio"))]
    )


@needs_clients
@pytest.mark.clients
@pytest.mark.parametrize("kind", ["http", "grpc"])
def test_tritonclient_shared_memory(stack, kind):
    """tritonclient's system shared memory works unmodified at the model server: bounds and names are checked; the gateway has none."""
    address = bare(stack.rest_url) if kind == "http" else stack.grpc_target
    assert "passed" in ran(CLIENTS, HERE / "triton_shared_memory.py", kind, address, bare(stack.gateway_url))


@needs_clients
@pytest.mark.clients
def test_kserve(stack):
    """kserve's REST client works with V1 and V2 at both services, its gRPC client raw and typed."""
    all_pass(
        "kserve_round_trip.py", [f"rest,{stack.rest_url}", f"rest,{stack.gateway_url}", f"grpc,{stack.grpc_target}"]
    )


@needs_clients
@pytest.mark.clients
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
@pytest.mark.parametrize("theirs", ["tritonclient.grpc", "kserve"])
def test_ours_and_theirs_in_one_process(root, order, theirs):
    """Our packages and a client that declares the same messages can be imported together, in both orders."""
    ours = "import crossover.clients.grpc_unary, crossover.clients.grpc_stream, crossover.clients.rest"
    lines = [ours, f"import {theirs}"] if order == "ours first" else [f"import {theirs}", ours]
    ran(CLIENTS, "-c", "; ".join(lines), cwd=root)


def test_grpcurl_needs_no_file(stack):
    """grpcurl lists, describes, infers and asks for health by reflection."""
    grpcurl = BIN / "grpcurl"
    listed = ran(grpcurl, "-plaintext", stack.grpc_target, "list")
    assert "inference.GRPCInferenceService" in listed
    assert "grpc.health.v1.Health" in listed
    described = ran(grpcurl, "-plaintext", stack.grpc_target, "describe", "inference.GRPCInferenceService.ModelInfer")
    assert "ModelInferRequest" in described
    message = {
        "model_name": "echo-FP32",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "contents": {"fp32_contents": [1, "NaN"]}}],
    }
    answer = json.loads(
        ran(
            grpcurl,
            "-plaintext",
            "-d",
            json.dumps(message),
            stack.grpc_target,
            "inference.GRPCInferenceService/ModelInfer",
        )
    )
    assert answer["rawOutputContents"] == ["AACAPwAAwH8="]
    health = ran(
        grpcurl, "-plaintext", "-d", '{"service":"echo-FP32"}', stack.grpc_target, "grpc.health.v1.Health/Check"
    )
    assert json.loads(health) == {"status": "SERVING"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("service", ["model server", "gateway"])
def test_curl(stack, service):
    """curl infers from either service."""
    url = stack.gateway_url if service == "gateway" else stack.rest_url
    body = '{"inputs":[{"name":"x","datatype":"INT64","shape":[1,1],"data":[9007199254740993]}]}'
    answer = json.loads(ran("curl", "-sf", f"{url}/v2/models/echo-INT64/infer", "-d", body))
    assert answer["outputs"][0]["data"] == [9007199254740993]


def test_k6(stack, tmp_path):
    """k6's http and grpc modules work; grpc by reflection."""
    script = tmp_path / "load.js"
    script.write_text(
        f"""
        import http from 'k6/http'; import grpc from 'k6/net/grpc'; import {{ check }} from 'k6';
        export const options = {{ vus: 1, iterations: 5, thresholds: {{ checks: ['rate==1'] }} }};
        const client = new grpc.Client();
        const body = {{ inputs: [{{ name: 'x', datatype: 'FP32', shape: [1, 2], data: [1, 2] }}] }};
        const contents = {{ fp32_contents: [1, 2] }};
        const input = {{ name: 'x', datatype: 'FP32', shape: [1, 2], contents: contents }};
        const message = {{ model_name: 'echo-FP32', inputs: [input] }};
        export default () => {{
          const answer = http.post('{stack.gateway_url}/v2/models/echo-FP32/infer', JSON.stringify(body));
          check(answer, {{ 'rest': (r) => r.status === 200 && r.json().outputs[0].data[1] === 2 }});
          client.connect('{stack.grpc_target}', {{ plaintext: true, reflect: true }});
          const reply = client.invoke('inference.GRPCInferenceService/ModelInfer', message);
          check(reply, {{ 'grpc': (r) => r && r.status === grpc.StatusOK }});
          client.close();
        }};
        """
    )
    ran(BIN / "k6", "run", "--quiet", "--no-usage-report", script)
