"""Every command of README.md is run as it stands there."""

from __future__ import annotations

import json
import re
import shlex
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
SHORT = "ARGS=--payload 256 --blocks 1 --turns 1 --slice 0.1 --rate 100 --arms rest grpc grpc-again control"


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


def test_make_compare_passes_arguments_on():
    """`make compare` is the lab's `run`, which tests/comparison/test_run.py runs; make itself says what it would do."""
    command = block("sh", "make compare").split()
    done = subprocess.run([*command, "--dry-run", SHORT], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"-m comparison run {SHORT.removeprefix('ARGS=')}" in done.stdout


@pytest.mark.slow
def test_make_compare_runs(tmp_path):
    """`make compare` works, here with the shortest of runs."""
    command = block("sh", "make compare").split()
    done = subprocess.run(
        [*command, f"{SHORT} --out {tmp_path / 'run'}"], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("name", ["README.md", "README.ko.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md",
                                  "examples/http/README.md", "docs/choose.md", "docs/choose.ko.md", "docs/deploy.md",
                                  "docs/observability.md"])  # fmt: skip
def test_links_lead_somewhere(name):
    """Every relative link points at a file."""
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


HTTP = ROOT / "examples/http"
_REQUEST = re.compile(r"^### (.+)\n(\w+) \{\{gateway\}\}(\S+)\n((?:[\w-]+: .+\n)*)(?:\n(\{.+)\n)?", re.MULTILINE)


def http_requests() -> list[tuple[str, str, str, dict[str, str], object]]:
    """Each request of crossover.http: name, method, path, headers, JSON."""
    return [
        (
            name,
            method,
            path,
            dict(line.split(": ", 1) for line in headers.splitlines()),
            json.loads(body) if body else None,
        )
        for name, method, path, headers, body in _REQUEST.findall((HTTP / "crossover.http").read_text("utf-8"))
    ]


def test_requests_to_try_are_answered(make_run):
    """Every request of examples/http does what its name says: 404 for the error, 202 for later, 201 for a stored one, else 200."""
    expected = {"An error": "404", "Store later": "202", "Store a": "201", "The latest": "200"}
    for name, method, path, headers, body in http_requests():
        given = [word for field in headers.items() for word in ("-H", ": ".join(field))]
        data = ["-d", json.dumps(body)] if body is not None else []
        command = ["curl", "-sL", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, *given, *data]
        status = shell(shlex.join([*command, f"http://127.0.0.1:8080{path}"]))
        assert status == next((code for begin, code in expected.items() if name.startswith(begin)), "200"), name


def test_both_collections_hold_the_same_requests():
    """Bruno's files are crossover.http's requests: names, order, methods, URLs, headers and bodies."""
    found = []
    for path in sorted((HTTP / "bruno").glob("*.bru")):
        parts = dict(re.findall(r"^([\w:]+) \{\n(.*?)^\}", path.read_text("utf-8"), re.DOTALL | re.MULTILINE))
        (method,) = {"get", "post"} & set(parts)
        fields = [line.strip().split(": ", 1) for line in parts.get("headers", "").splitlines()]
        url = re.search(r"url: \{\{gateway\}\}(\S+)", parts[method])
        name = re.search(r"name: (.+)", parts["meta"])
        assert url
        assert name
        body = json.loads(parts["body:json"]) if "body:json" in parts else None
        found.append((name[1], method.upper(), url[1], dict(fields), body))
    assert found == http_requests()
    assert len(found) > 10
