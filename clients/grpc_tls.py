"""The TLS side of a gRPC target."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from crossover.protocol.errors import invalid

if TYPE_CHECKING:
    from crossover.protocol.wires import Target


def tls_of(target: Target) -> ssl.SSLContext | None:
    """How to trust and be trusted, with HTTP/2 as the protocol; None for plain text.

    INVALID_ARGUMENT when a file cannot be used.
    """
    if target.tls_ca is None:
        return None
    try:
        context = ssl.create_default_context(cafile=target.tls_ca)
        if target.tls_cert is not None:
            context.load_cert_chain(target.tls_cert, target.tls_key)
    except OSError as error:
        raise invalid(f"the TLS files for {target.grpc} cannot be used: {error.strerror or error}") from None
    context.set_alpn_protocols(["h2"])
    return context
