"""Sockets for the load generator: TCP or Unix, plain or TLS, in one form: `send`, `recv_into`, BlockingIOError."""

from __future__ import annotations

import functools
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from crossover.protocol.tensors import Buffer

_CONNECT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Tls:
    """What a client knows for TLS; all paths are of PEM files."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    servername: str | None = None
    insecure: bool = False
    """The server's certificate is not verified."""
    alpn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service listens."""

    host: str = ""
    port: int = 0
    path: str = ""
    """Of a Unix socket; empty for TCP."""
    tls: Tls | None = None

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Stream(Protocol):
    """A connected socket that never waits."""

    def fileno(self) -> int: ...

    def send(self, data: Buffer, /) -> int: ...

    def recv_into(self, buffer: memoryview, /) -> int: ...

    def settimeout(self, seconds: float | None, /) -> None: ...

    def close(self) -> None: ...


def opened(address: Address, timeout: float = _CONNECT_SECONDS, *, resume: bool = False) -> Stream:
    """A connection to `address`, after its handshake where it has TLS; OSError says what failed.

    With `resume` the handshake resumes the session of the last such connection; the first has none. It waits at most
    `timeout` seconds for each step; `settimeout(0)` makes it one that never waits.
    """
    if address.path:
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(timeout)
        try:
            plain.connect(address.path)
        except OSError:
            plain.close()
            raise
    else:
        plain = socket.create_connection((address.host, address.port), timeout)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain if address.tls is None else _secured(plain, address, address.tls, resume=resume)


_sessions: dict[Address, ssl.SSLSession] = {}
"""By address, what the service said last of how to come again (RFC 8446, 2.2)."""


def _secured(plain: socket.socket, address: Address, tls: Tls, *, resume: bool) -> Stream:
    session = _sessions.get(address) if resume else None
    try:
        found = context(tls).wrap_socket(plain, server_hostname=tls.servername or address.host or None, session=session)
    except ssl.SSLCertVerificationError as error:
        plain.close()
        raise OSError(f"the certificate of {address} is not accepted: {error.verify_message}") from None
    except ssl.SSLError as error:
        plain.close()
        raise OSError(f"{address} does not complete a TLS handshake: {error.reason or error}") from None
    except OSError:
        plain.close()
        raise
    if session is not None and not found.session_reused:
        found.close()
        raise OSError("the service does not resume TLS sessions")
    return _TlsStream(found, address if resume else None)


@functools.cache
def context(tls: Tls) -> ssl.SSLContext:
    """The context of a client; OSError names the file that cannot be used."""
    try:
        made = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:
        raise OSError(f"'{tls.ca}' cannot be used as a certificate authority: {_reason(error)}") from None
    if tls.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE  # asked for with --insecure
    if tls.cert:
        try:
            made.load_cert_chain(tls.cert, tls.key)
        except OSError as error:
            raise OSError(f"'{tls.cert}' cannot be used as a client certificate: {_reason(error)}") from None
    if tls.alpn:
        made.set_alpn_protocols(list(tls.alpn))
    return made


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)


class _TlsStream:
    """TLS tells "not now" in exceptions of its own."""

    def __init__(self, inner: ssl.SSLSocket, kept_for: Address | None) -> None:
        """`kept_for`: where its session is resumed later."""
        self._inner, self._kept_for = inner, kept_for
        self.fileno, self.settimeout = inner.fileno, inner.settimeout

    def close(self) -> None:
        if self._kept_for is not None and self._inner.session is not None:
            _sessions[self._kept_for] = self._inner.session
        self._inner.close()

    def send(self, data: Buffer) -> int:
        try:
            return self._inner.send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            raise BlockingIOError from None

    def recv_into(self, buffer: memoryview) -> int:
        try:
            return self._inner.recv_into(buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLError as error:
            raise OSError(f"TLS failed: {error.reason or error}") from None
