"""Services of other languages, and others' servers, answer alike over both wires and can be measured as a pair."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from crossover.stack.services import free_ports
from tests.conftest import ROOT
from tests.examples import missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GREETERS = ROOT / "examples"
SHORT = ("--blocks", "1", "--turns", "1", "--slice", "0.1", "--rate", "40", "--connections", "2")


def copied(name: str, folder: Path) -> Path:
    """A copy of an example, with the greeter that it takes its contract from beside it."""
    ignored = shutil.ignore_patterns("node_modules", "gopath", "server", "build", "__pycache__")
    for each in (name, "greeter"):
        shutil.copytree(GREETERS / each, folder / each, ignore=ignored)
    return folder / name


def node(folder: Path) -> dict[str, str]:
    """Commands that start the two services, of what the lock file pins."""
    here = copied("greeter-node", folder)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"], cwd=here, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {wire: f"node {here / wire}.js --listen" for wire in ("grpc", "rest")}


def go(folder: Path) -> dict[str, str]:
    """Likewise, built by the page's own commands."""
    here = copied("greeter-go", folder)
    page = re.findall(r"^    (.+)$", (here / "README.md").read_text("utf-8"), re.MULTILINE)
    steps = [line for line in page if not line.startswith(("apt-get", "cd ", "python"))]
    done = subprocess.run(
        ["sh", "-e", "-c", "\n".join(steps)], cwd=here, capture_output=True, text=True, timeout=500,
        env={**os.environ, "GOCACHE": str(folder / "cache"), "HOME": str(folder)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {wire: f"{here / 'server'} {wire}" for wire in ("grpc", "rest")}


def java(folder: Path) -> dict[str, str]:
    """Likewise."""
    here = copied("greeter-java", folder)
    page = re.findall(r"^    (.+)$", (here / "README.md").read_text("utf-8"), re.MULTILINE)
    steps = [line for line in page if not line.startswith(("apt-get", "cd ", "python"))]
    done = subprocess.run(["sh", "-e", "-c", "\n".join(steps)], cwd=here, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return {wire: f"java -cp '{here / 'build'}:/usr/share/java/*' Server {wire}" for wire in ("grpc", "rest")}


def connect(_: Path) -> dict[str, str]:
    """The server, which speaks both wires at any port."""
    return dict.fromkeys(("grpc", "rest"), f"{sys.executable} examples/greeter-connect/server.py --listen")


def envoy(_: Path) -> dict[str, str]:
    """The gRPC service, and the same behind Envoy."""
    (behind,) = free_ports(1)
    return {
        "grpc": f"{sys.executable} examples/greeter/greeter_grpc.py --listen",
        "rest": f"{sys.executable} examples/greeter-envoy/envoy.py --upstream 127.0.0.1:{behind} --listen",
    }


def etcd(_: Path) -> dict[str, str]:
    """Each of its own."""
    return dict.fromkeys(("grpc", "rest"), f"{sys.executable} examples/etcd/serve.py")


def triton(_: Path) -> dict[str, str]:
    """Each of its own, whose other wire listens elsewhere."""
    subprocess.run([sys.executable, "examples/triton/rows.py"], cwd=ROOT, check=True)
    return dict.fromkeys(("grpc", "rest"), ".venv-triton/bin/python examples/triton/serve.py")


HELLO, HELLO_RPC = "v1/hello", "greeter.v1.Greeter/SayHello"
PAIRS = {
    "greeter-node": (node, missing.node_is_missing, HELLO, 4),
    "greeter-go": (go, missing.go_is_missing, HELLO, 4),
    "greeter-java": (java, missing.java_is_missing, HELLO, 4),
    "greeter-connect": (connect, missing.connect_is_missing, HELLO_RPC, 4),
    "greeter-envoy": (envoy, missing.envoy_is_missing, HELLO_RPC, 4),
    "etcd": (etcd, missing.etcd_is_missing, "v3/kv/range", 2),
    "triton": (triton, missing.triton_is_missing, "v2/models/identity/infer", 2),
}
"""By example: what makes its commands, what says why it cannot be tried, the endpoint's path, rows of all cases."""


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_of_others(name, tmp_path):
    """Its services answer every row alike, and a short run measures both, with their CPU."""
    made, lacks, path, rows = PAIRS[name]
    if reason := lacks():
        pytest.skip(reason)
    commands = made(tmp_path)
    grpc, rest, *aside = free_ports(4)
    where = {"grpc": f"127.0.0.1:{grpc}", "rest": f"127.0.0.1:{rest}"}
    if name == "triton":
        where = {"grpc": f"{aside[0]} {grpc}", "rest": f"{rest} {aside[1]}"}
    flags = (
        f"examples/{name}/pair.yaml", "--grpc", f"127.0.0.1:{grpc}", "--rest", f"POST http://127.0.0.1:{rest}/{path}",
        "--start-grpc", f"{commands['grpc']} {where['grpc']}", "--start-rest", f"{commands['rest']} {where['rest']}",
    )  # fmt: skip

    def pair(*more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "comparison", "pair", *flags, *map(str, more)], cwd=ROOT, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip

    done = pair("--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"The answers are the same ({rows} rows asked of both)." in done.stdout
    done = pair(*SHORT, "--out", tmp_path / "run")
    assert done.returncode in {0, 4}, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    arms = {row["arm"]: row for row in summary["arms"]}
    assert all(arms[wire]["answered"] == arms[wire]["requests"] > 0 for wire in ("grpc", "rest"))
    assert all(arms[wire]["cpu_us"]["service"] > 0 for wire in ("grpc", "rest"))
