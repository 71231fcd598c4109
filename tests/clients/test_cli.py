"""`python -m clients`: a person's way to call a model over any wire, with refusals of one sentence."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from crossover.clients.__main__ import main
from crossover.protocol.wires import WIRES
from crossover.stack.services import free_ports
from tests.programs import Ended, called


@pytest.fixture
def run(model_server):
    """Call the command line against the model server."""

    def run(*arguments: str, **environment: str) -> Ended:
        return called(main, *arguments, environment={**model_server.environment, **environment})

    return run


def test_from_the_shell(root, model_server, sample):
    """`python -m clients` is the command line that the tests below call."""
    ended = subprocess.run(
        [sys.executable, "-m", "clients", "infer", "digits"], cwd=root, env={**os.environ, **model_server.environment},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert f"answer: {sample[1]} (" in ended.stdout


@pytest.mark.parametrize("wire", ["grpc", "rest"])
def test_infer_prints_answer_time_and_bytes(run, sample, wire):
    """What the model says of a sample, what it cost, and the sample's true label."""
    ended = run("infer", "digits", "--wire", wire)
    assert ended.returncode == 0, ended.stderr
    assert f"true label of sample 0: {sample[1]}" in ended.stdout
    assert f"answer: {sample[1]} (" in ended.stdout
    assert re.search(
        rf"digits version 1 over {wire}: [\d,]+ us; request bytes: \d+; reply bytes: \d+$", ended.stdout, re.MULTILINE
    )


def test_a_row_for_every_wire(run, sample):
    """`--wire all` shows answer, median and bytes of each; in one process nothing is sent."""
    ended = run("infer", "digits", "--wire", "all", "--calls", "5")
    assert ended.returncode == 0, ended.stderr
    rows = {cells[0]: cells[1:] for line in ended.stdout.splitlines() if len(cells := line.strip("│").split("│")) == 5}
    rows = {name.strip(): [cell.strip() for cell in cells] for name, cells in rows.items()}
    assert set(rows) == set(WIRES)
    for name, (answer, median, sent, received) in rows.items():
        assert answer.startswith(f"{sample[1]} (")
        assert re.fullmatch(r"[\d,]+ us", median)
        assert (sent == received == "none") == (WIRES[name].kind == "process")


def test_a_wire_that_fails_is_a_row_that_says_why(run):
    """One wire that can't be reached does not hide the others; the exit code tells."""
    port = free_ports(1)[0]
    ended = run("infer", "digits", "--wire", "all", "--calls", "1", "--grpc", f"127.0.0.1:{port}")
    assert ended.returncode == 1
    failing = sum(wire.kind == "grpc" for wire in WIRES.values())
    assert ended.stdout.count("UNAVAILABLE") == failing
    assert ended.stdout.count(" us ") == len(WIRES) - failing


def test_inputs_as_json_npy_and_whole_requests(run, tmp_path):
    """An input is JSON text, a file of JSON or .npy, or a whole OIP request; a flat row becomes a batch of one."""
    np.save(tmp_path / "x.npy", np.array([[1.0, 2.0]]))
    (tmp_path / "x.json").write_text("[[1, 2]]")
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    (tmp_path / "request.json").write_text(json.dumps({"inputs": [tensor]}))
    for given in ("[[1, 2]]", "x=[[1, 2]]", f"@{tmp_path}/x.npy", f"x=@{tmp_path}/x.json", f"@{tmp_path}/request.json"):
        ended = run("infer", "identity", "--input", given)
        assert ended.returncode == 0, (given, ended.stderr)
        assert "y FP32 [1, 2]\n[[1. 2.]]" in ended.stdout
    np.save(tmp_path / "flat.npy", np.zeros(64))
    assert "probabilities FP32 [1, 10]" in run("infer", "digits", "--input", f"@{tmp_path}/flat.npy").stdout
    assert "y UINT8 [2]\n[1 2]" in run("infer", "sized", "--input", "x=[1,2,3]", "--input", "size=[2]").stdout


def test_models_and_health(run):
    """The list of models with their states, and an exit code that scripts can use."""
    listed = run("models", "--wire", "rest")
    assert listed.returncode == 0
    for name in ("digits", "identity", "sized", "work"):
        assert re.search(rf"{name}\s+│ 1\s+│ READY", listed.stdout)
    ready = run("health")
    assert (ready.returncode, ready.stdout.startswith("ready: 127.0.0.1:")) == (0, True)
    port = free_ports(1)[0]
    away = run("health", "--grpc", f"127.0.0.1:{port}")
    assert away.returncode == 1
    assert away.stdout.startswith(f"not ready: 127.0.0.1:{port} (grpc): ") and "refused" in away.stdout
    version = run("--version")
    assert (version.returncode, version.stdout.split()[0]) == (0, "crossover")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["infer", "nope"], 1, "NOT_FOUND: "),
        (["infer", "digits", "--version", "9"], 1, "NOT_FOUND: "),
        (["infer", "digits", "--sample", "999"], 1, "--sample is 999; 'digits' has samples 0 to 19"),
        (["infer", "identity"], 1, "give its inputs with --input (x: FP32 [-1, -1])"),
        (["infer", "identity", "--input", "@/nonexistent.json"], 1, "No such file or directory"),
        (["infer", "identity", "--input", "{"], 1, "it takes JSON or, after '@', a file of JSON or .npy"),
        (["infer", "identity", "--input", "[[1],[2,3]]"], 1, "takes FP32 values in lists of equal length"),
        (["infer", "sized", "--input", "[1]"], 1, "write NAME=VALUE with one of x, size"),
        (["infer", "digits", "--wire", "soap"], 2, "invalid choice: 'soap'"),
        (["infer", "digits", "--timeout", "-1"], 2, "'-1' is not a number of seconds above 0"),
        (["infer", "digits", "--calls", "0"], 2, "'0' is not an integer, 1 or more"),
        (["--ca", "/nonexistent.pem", "health"], 2, "there is no file /nonexistent.pem"),
        (["--rest", "nonsense", "health", "--wire", "rest"], 1, "'nonsense' is not a base URL"),
        ([], 2, "the following arguments are required: infer|models|health"),
    ],
)
def test_refusals_are_one_sentence(run, arguments, code, says):
    """No traceback, no page of usage; 1 when the call failed, 2 when it could not be made."""
    ended = run(*arguments)
    assert ended.returncode == code
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_flags_stand_before_or_after_the_command(run, model_server):
    """Whoever types them last need not move the cursor."""
    environment = {"MODEL_SERVER_HTTP_PORT": "1", "MODEL_SERVER_GRPC_PORT": "1"}
    where = ["--grpc", model_server.where["grpc"]]
    assert run(*where, "health", **environment).returncode == 0
    assert run("health", *where, **environment).returncode == 0
    assert run("health", **environment).returncode == 1
