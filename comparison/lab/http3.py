"""HTTP/3 for REST, where well-kept parts give it: the plain routes on hypercorn (aioquic below it), called by pyqwest.

Two steps, since both need TLS: HTTP/2 over TLS by these two, and the same over QUIC. The server makes itself a certificate
in the folder that both sides of a run share. What neither is part of the lab's usual environment: requirements/arms.txt.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hypercorn.config import Config

from crossover.comparison.lab.http2 import running
from crossover.comparison.lab.libraries import LibraryClient
from crossover.comparison.lab.wires import QUIC_PORT, address, folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from crossover.endpoints.rest.types import ASGIApp
    from crossover.protocol.inference import Inference
    from crossover.protocol.wires import Target

_CERTIFICATE, _KEY = "lab-certificate.pem", "lab-key.pem"
_DAYS = dt.timedelta(days=2)


def connect_http2(target: Target) -> Inference:
    return PyqwestClient(target, "HTTP2")


def connect_http3(target: Target) -> Inference:
    return PyqwestClient(target, "HTTP3")


class PyqwestClient(LibraryClient):
    """As `rest-httpx`, by pyqwest over TLS, to hypercorn."""

    def __init__(self, target: Target, version: str) -> None:
        super().__init__(target)
        library: Any = import_module("pyqwest")
        self.failures = (
            TimeoutError,
            ConnectionError,
            OSError,
            library.ReadError,
            library.WriteError,
            library.RemoteProtocolError,
        )
        self._url = f"https://{address(target, QUIC_PORT)}"
        transport = library.HTTPTransport(
            tls_ca_cert=(folder(target) / _CERTIFICATE).read_bytes(), http_version=getattr(library.HTTPVersion, version),
            pool_max_idle_per_host=target.connections, enable_otel=False,
        )  # fmt: skip
        self._client = library.Client(transport)

    async def post(self, url: str, headers: dict[str, str], body: bytes, timeout: float | None) -> tuple[int, bytes]:
        async with asyncio.timeout(timeout):
            reply = await self._client.post(url, headers=headers, content=body)
        return reply.status, reply.content

    async def close(self) -> None:
        await self.inner.close()


@contextlib.asynccontextmanager
async def served(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve `app` by hypercorn with TLS: HTTP/2 on TCP and HTTP/3 on UDP, at the same port."""
    config = Config()
    config.bind = config.quic_bind = [f"{host}:{port}"]
    config.certfile, config.keyfile = map(str, _certified(folder(), host))
    async with running(app, config):
        yield


def _certified(where: Path, host: str) -> tuple[Path, Path]:
    """A self-signed certificate for `host`, an IP address, and its key, as PEM files in `where`."""
    x509: Any = import_module("cryptography.x509")
    hashes: Any = import_module("cryptography.hazmat.primitives.hashes")
    curves: Any = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    forms: Any = import_module("cryptography.hazmat.primitives.serialization")
    key = curves.generate_private_key(curves.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    now = dt.datetime.now(dt.UTC)
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - _DAYS).not_valid_after(now + _DAYS)
        .add_extension(alternatives, critical=False).sign(key, hashes.SHA256())
    )  # fmt: skip
    certificate, secret = where / _CERTIFICATE, where / _KEY
    secret.write_bytes(
        key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.TraditionalOpenSSL, forms.NoEncryption())
    )
    certificate.write_bytes(made.public_bytes(forms.Encoding.PEM))
    return certificate, secret
