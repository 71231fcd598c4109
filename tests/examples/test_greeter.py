"""The greeter's pair.yaml does what examples/README.md says."""

import socket
import subprocess
import sys

import pytest

from tests.conftest import ROOT


def _taken(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_greeters_answer_alike():
    """`pair FILE --dry-run` starts both services, asks both for every row, and finds the answers the same."""
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip(".venv is missing, with which the example starts its services; `make check` makes it")
    if _taken(50051) or _taken(8000):
        pytest.skip("port 50051 or 8000, which the example names, is taken")
    done = subprocess.run(
        [sys.executable, "-m", "comparison", "pair", "examples/greeter/pair.yaml", "--dry-run"],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The answers are the same (4 rows asked of both)." in done.stdout
    assert not _taken(50051)
    assert not _taken(8000)
