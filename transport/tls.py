"""Certificates of a listening port, read again when their files change: new connections get the new ones."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossover.transport.reread import Reread

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Pem = tuple[bytes, bytes, bytes | None]
"""Contents of key, certificate chain and authorities, as gRPC takes them."""
_WHAT = "the port's certificates"


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

        ValueError, one sentence, when a file cannot be read or does not fit. A context that is in use keeps the
        authorities that it has once loaded, so each change makes another one, and handshakes are moved to it.
        """
        current = Reread(self._files(), lambda: self._context(protocol), _WHAT)
        first = current.value()

        def move(connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
            newest = current.value()
            if newest is not first:
                connection.context = newest

        first.sni_callback = move  # called for every handshake, whether the client names a host or not
        return first

    def pem(self) -> Callable[[], Pem]:
        """Gives what the files hold now, from any thread; ValueError as above for what they hold at first."""
        return Reread(self._files(), self._pem, _WHAT).value

    def _files(self) -> list[Path]:
        return [self.cert, self.key, *([self.ca] if self.ca is not None else [])]

    def _context(self, protocol: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols([protocol])
        _load(f"certificate {self.cert} with key {self.key}", lambda: context.load_cert_chain(self.cert, self.key))
        if self.ca is not None:
            ca = self.ca
            _load(f"certificate authorities {ca}", lambda: context.load_verify_locations(ca))
            context.verify_mode = ssl.CERT_REQUIRED
            # a ticket would let in who was let in before, by authorities of then
            context.options |= ssl.OP_NO_TICKET
            context.num_tickets = 0
        return context

    def _pem(self) -> Pem:
        self._context("h2")  # says what is wrong with a file, where gRPC says nothing
        try:
            return self.key.read_bytes(), self.cert.read_bytes(), self.ca.read_bytes() if self.ca is not None else None
        except OSError as error:
            raise ValueError(f"cannot use certificate {self.cert}: {error.strerror or error}") from None


def _load(what: str, load: Callable[[], object]) -> None:
    try:
        load()
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"cannot use {what}: {error.strerror or error}") from None
