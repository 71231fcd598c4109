"""The channel of `grpc-lean`: a target's address, TLS files and limits for `transport.grpc.client`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from crossover import VERSION
from crossover.clients.grpc_tls import tls_of
from crossover.protocol.errors import invalid
from crossover.transport.grpc.client import Address, Channel

if TYPE_CHECKING:
    import ssl

    from crossover.protocol.wires import Target


def lean_channel(target: Target) -> Channel:
    """A channel to the target; INVALID_ARGUMENT when its address is none."""
    try:
        address = Address.of(target.grpc)
        if target.authority:
            name = Address.of(target.authority)
            address = replace(address, authority=name.authority, server_name=name.host)
    except ValueError as error:
        raise invalid(str(error)) from None

    def tls() -> ssl.SSLContext:
        return cast("ssl.SSLContext", tls_of(target))

    return Channel(
        address,
        limit=target.max_message_bytes,
        user_agent=f"grpc-python-crossover/{VERSION}",
        tls=tls if target.tls_ca is not None else None,
    )
