"""The page about status codes is true: every command of it is run on a real gateway."""

from __future__ import annotations

import re
import subprocess

import pytest

from crossover.stack.services import ROOT, ServiceProcess, free_ports
from tests import documents

PAGE = ROOT / "docs" / "predictions.md"


@pytest.fixture
def gateway(tmp_path):
    port, nobody = free_ports(2)
    environment = {
        "GATEWAY_PORT": str(port),
        "GATEWAY_UPSTREAM": "inprocess",
        "MODEL_SERVER_GRPC_PORT": str(nobody),
        "DATA_DIR": str(tmp_path / "data"),
    }
    service = ServiceProcess("rest_gateway", environment, ("127.0.0.1", port))
    service.await_ready()
    yield port
    service.stop()


def test_commands(gateway, tmp_path):
    """Each command whose line ends in a status prints that status."""
    script = "\n".join(block.text for block in documents.blocks(PAGE.read_text()) if block.language == "sh")
    expected = [status for comment in re.findall(r"  # ([\d ]+)$", script, re.MULTILINE) for status in comment.split()]
    assert len(expected) > 25
    script = script.replace("127.0.0.1:8080", f"127.0.0.1:{gateway}")
    ran = subprocess.run(["bash", "-u", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert ran.stdout.split() == expected, ran.stderr


def test_every_status_is_explained():
    """Every status that the reference lists for a resource stands on the page."""
    from crossover.rest_gateway.predictions.routes import _WHY

    page = PAGE.read_text()
    assert [status for status in _WHY if f"| {status} " not in page] == []
