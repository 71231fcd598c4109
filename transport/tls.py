"""Certificates of a listening port."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files of one listening port."""

    cert: Path
    """The service's certificate chain."""
    key: Path
    """Its private key."""
    ca: Path | None = None
    """Authorities of client certificates; when given, a client must show one (mutual TLS)."""

    def server_context(self, protocol: str = "http/1.1") -> ssl.SSLContext:
        """The context of a port that speaks `protocol`, as ALPN calls it.

        ValueError, one sentence, when a file cannot be read or does not fit.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([protocol])
        _load(f"certificate {self.cert} with key {self.key}", lambda: context.load_cert_chain(self.cert, self.key))
        if self.ca is not None:
            ca = self.ca
            _load(f"certificate authorities {ca}", lambda: context.load_verify_locations(ca))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def pem(self) -> tuple[bytes, bytes, bytes | None]:
        """Contents of key, certificate chain and authorities, as gRPC takes them."""
        return self.key.read_bytes(), self.cert.read_bytes(), self.ca.read_bytes() if self.ca is not None else None


def _load(what: str, load: object) -> None:
    try:
        load()  # type: ignore[operator]
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"cannot use {what}: {error.strerror or error}") from None
