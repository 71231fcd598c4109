"""Every command of README.md is run as it stands there."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crossover.protocol.wires import WIRES
from crossover.stack.services import ROOT
from tests import documents

PORTS = (8080, 8000, 8001)
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = documents.blocks(README)
SHORT = "ARGS=--payload 256 --blocks 2 --turns 1 --slice 0.1 --rate 100 --arms rest grpc grpc-again control"


def block(language: str, containing: str) -> str:
    (found,) = [block.text for block in BLOCKS if block.language == language and containing in block.text]
    return found


def shell(command: str) -> str:
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def make_run(tmp_path_factory) -> Iterator[Path]:
    """`make run`, ready; at the end Ctrl-C, and exit code 0."""
    for port in PORTS:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port}, which the README uses, is in use on this machine")
    folder = tmp_path_factory.mktemp("make_run")
    with documents.make_run(block("sh", "make run"), folder / "log", {"DATA_DIR": str(folder)}) as log:
        yield log


def test_curl_gives_the_answer_shown(make_run):
    """The first request answers with exactly what stands below it."""
    assert json.loads(shell(block("sh", "curl -s"))) == json.loads(block("json", "model_name"))


def test_every_wire_has_its_row(make_run):
    """The command line prints a row for each wire, with the true digit and the message bytes shown."""
    printed = shell(block("sh", "--wire all"))
    assert "true label of sample 3: 3" in printed
    for name in WIRES:
        assert re.search(rf"{name} .*\b3 \(", printed), printed


def test_the_python_example_runs(make_run):
    """The two clients side by side answer the same."""
    done = subprocess.run(
        [sys.executable, "-c", block("python", "connect_sync")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(set(done.stdout.split())) == 1


def test_make_compare_runs(tmp_path):
    """`make compare` works, here with the shortest of runs."""
    command = block("sh", "make compare").split()
    done = subprocess.run(
        [*command, f"{SHORT} --out {tmp_path / 'run'}"], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "report.html").exists()


def test_links_lead_somewhere():
    """Every relative link of the README points at a file."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
