"""A certificate of one run's own for the model server, so that the hop can go over TLS."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROGRAM = "openssl"


class CertificateError(RuntimeError):
    """No certificate could be made, in one sentence."""


def made(folder: Path, addresses: Sequence[str]) -> tuple[Path, Path]:
    """A self-signed certificate for IP `addresses` and its key, as PEM files in `folder`: RSA 2048, two days."""
    if shutil.which(PROGRAM) is None:
        raise CertificateError(f"--tls needs the program {PROGRAM} for its certificate, and it was not found")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = ",".join(f"IP:{address}" for address in addresses)
    done = subprocess.run(
        [PROGRAM, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab",
         "-addext", f"subjectAltName={names}", "-keyout", key, "-out", certificate],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise CertificateError(f"{PROGRAM} made no certificate: {done.stderr.strip().splitlines()[-1]}")
    return certificate, key
