"""`make check` asks for known vulnerabilities, and never fails because nobody answers."""

from __future__ import annotations

import importlib.util
import subprocess

import pytest


@pytest.fixture
def audit(root, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("audit", root / "requirements" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path)
    return module


@pytest.mark.parametrize(
    ("code", "said", "expected", "line"),
    [
        (0, "No known vulnerabilities found", 0, "no known vulnerability"),
        (1, "Found 2 known vulnerabilities in 1 package\nnumpy 1.0 PYSEC-1", 1, "PYSEC-1"),
        (1, "requests.exceptions.ConnectionError: Max retries exceeded", 0, "cannot be reached"),
    ],
)
def test_what_pip_audit_says(audit, tmp_path, monkeypatch, capsys, code, said, expected, line):
    """A vulnerability is exit code 1 with its name; a service that does not answer is one line and exit code 0."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pip-audit").touch()
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, code, "", said))
    assert audit.main() == expected
    assert line in capsys.readouterr().out


def test_an_index_that_cannot_be_reached(audit, monkeypatch, capsys):
    """Where pip-audit cannot be installed, one line says that it was left out."""

    def fails(*_, **__):
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(subprocess, "run", fails)
    assert audit.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("audit: left out")
