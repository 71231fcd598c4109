"""A certificate for measurements on this host."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def make_certificate(folder: Path) -> Path:
    """A file in `folder` with a self-signed certificate and its key; OSError or SubprocessError where openssl cannot make one."""
    path, certificate = folder / "both.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "1", "-subj", "/CN=measurement", "-keyout", str(path), "-out", str(certificate)]  # fmt: skip
    subprocess.run(command, capture_output=True, check=True, timeout=20)
    path.write_text(path.read_text() + certificate.read_text())
    return path
