"""Pairs whose tensors are compared, pairs over an emulated network, and `run` at services that only `pair` can compare."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pair_services import CALL, GREETER, NAME, free_port, pair, started

from crossover.comparison.__main__ import main
from crossover.comparison.design import outcomes as out
from crossover.comparison.design import samples
from crossover.comparison.network import hosts
from crossover.stack.services import running

pytestmark = pytest.mark.slow
RAW = "AACAPwAAAEAAAEBA"
"""1, 2 and 3 as FP32, little-endian, in base64."""


def _tensor(**data):
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], **data}]}


@pytest.mark.parametrize(("numbers", "code"), [([1, 2, 3], 0), ([1, 2, 4], 2)])
def test_same_oip_compares_tensors(numbers, code, tmp_path):
    """Base64 in a message beside a list in JSON: the same numbers are the same answer, others are not."""
    with (tmp_path / "log").open("wb") as log, running({"DATA_DIR": str(tmp_path)}, log) as stack:
        done = pair(
            "--grpc", stack.grpc_target, "--call", "inference.GRPCInferenceService/ModelInfer",
            "--grpc-data", json.dumps({"model_name": "identity", **_tensor(), "raw_input_contents": [RAW]}),
            "--rest", f"POST {stack.gateway_url}/v2/models/identity/infer", "--rest-data", json.dumps(_tensor(data=numbers)),
            "--same", "oip", "--dry-run",
        )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert ("The answers are the same" in done.stdout) == (code == 0)
    if code:
        assert "do not answer alike" in done.stderr


def test_a_pair_over_a_network(tmp_path):
    """Both services are started inside the emulated hosts, and no request takes less than the round trip."""
    if reason := hosts.why_not():
        pytest.skip(reason)
    ports = free_port(), free_port()
    commands = [f"{sys.executable} {GREETER}/greeter_{wire}.py --listen 0.0.0.0:{port}"
                for wire, port in zip(("grpc", "rest"), ports, strict=True)]  # fmt: skip
    done = pair(
        "--grpc", f"127.0.0.1:{ports[0]}", "--call", CALL, "--grpc-data", NAME, "--proto", GREETER / "greeter.proto",
        "--rest", f"POST http://127.0.0.1:{ports[1]}/v1/hello", "--rest-data", NAME, "--data", GREETER / "rows.jsonl",
        "--start-grpc", commands[0], "--start-rest", commands[1], "--network", "region", "--arms", "grpc", "rest",
        "--blocks", "1", "--turns", "1", "--rate", "20", "--connections", "4", "--out", tmp_path / "run", timeout=200,
    )  # fmt: skip
    assert done.returncode in {0, 4}, done.stdout + done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {cell["network"] for cell in summary["cells"]} == {"region"}
    loads = [(line.arm, table) for line, table in samples.read(tmp_path / "run").slices if line.kind == samples.LOAD]
    assert {arm for arm, _ in loads} == {"grpc", "rest"}
    assert all((table[:, out.DONE] - table[:, out.SENT]).min() > 29e6 for _, table in loads)


def test_run_at_services_that_speak_another_protocol(tmp_path, capsys):
    """What was asked, what came, that OIP is needed, and what compares any two services."""
    with (
        started("greeter_rest.py", rest := f"127.0.0.1:{free_port()}"),
        started("greeter_grpc.py", grpc := f"127.0.0.1:{free_port()}"),
    ):
        assert main(["run", "--rest", f"http://{rest}", "--grpc", grpc, "--out", str(tmp_path / "run")]) == 2
    *_, said = capsys.readouterr().err.strip().splitlines()
    assert "Open Inference Protocol" in said
    assert "404" in said
    assert "python -m comparison pair" in said
