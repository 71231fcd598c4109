"""The greeters of other languages answer alike over both wires and can be measured as a pair."""

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
from tests.examples.missing import go_is_missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GREETERS = ROOT / "examples"
SHORT = ("--blocks", "1", "--turns", "1", "--slice", "0.1", "--rate", "40", "--connections", "2")


def node_is_missing() -> str:
    """Why the Node.js pair cannot be tried; empty where it can."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    return "Node.js is missing; on Debian: apt-get install nodejs npm" if missing else ""


def copied(name: str, folder: Path) -> Path:
    """A copy of an example, with the greeter that it takes its contract from beside it."""
    ignored = shutil.ignore_patterns("node_modules", "gopath", "server", "__pycache__")
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


@pytest.mark.parametrize(
    ("name", "made", "missing"), [("greeter-node", node, node_is_missing), ("greeter-go", go, go_is_missing)]
)
def test_a_pair_in_another_language(name, made, missing, tmp_path):
    """Its services answer every row alike, and a short run measures both, with their CPU."""
    if reason := missing():
        pytest.skip(reason)
    commands = made(tmp_path)
    grpc, rest = free_ports(2)
    flags = (
        f"examples/{name}/pair.yaml", "--grpc", f"127.0.0.1:{grpc}", "--rest", f"POST http://127.0.0.1:{rest}/v1/hello",
        "--start-grpc", f"{commands['grpc']} 127.0.0.1:{grpc}", "--start-rest", f"{commands['rest']} 127.0.0.1:{rest}",
    )  # fmt: skip

    def pair(*more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "comparison", "pair", *flags, *map(str, more)], cwd=ROOT, capture_output=True, text=True,
            timeout=200, check=False,
        )  # fmt: skip

    done = pair("--dry-run")
    assert done.returncode == 0, done.stderr
    assert "The answers are the same (4 rows asked of both)." in done.stdout
    done = pair(*SHORT, "--out", tmp_path / "run")
    assert done.returncode in {0, 4}, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    arms = {row["arm"]: row for row in summary["arms"]}
    assert all(arms[wire]["answered"] == arms[wire]["requests"] > 0 for wire in ("grpc", "rest"))
    assert all(arms[wire]["cpu_us"]["service"] > 0 for wire in ("grpc", "rest"))
