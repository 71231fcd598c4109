"""Whose request it is behind proxies: ``X-Forwarded-For`` counts as far as trusted hops wrote it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Address: TypeAlias = "ipaddress.IPv4Address | ipaddress.IPv6Address"

_MOST_HOPS = 32
_MAPPED_BITS = 96
_OWN_NETWORK_BITS = 64
"""An IPv6 host has a network of this size to itself, so callers are told apart by it (RFC 6177)."""


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network; an IPv4-mapped one (RFC 4291 2.5.5.2) is the IPv4 network that peers are compared with."""
    network = ipaddress.ip_network(name, strict=False)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))


class Forwarded:
    """The proxies that FORWARDED_ALLOW_IPS trusts: addresses and networks, ``*`` for all; none by default."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        """ValueError, one sentence, for what is neither an address nor a network."""
        names = [name.strip() for name in allowed if name.strip()]
        self._all = "*" in names
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for name in names:
            if name != "*":
                try:
                    self._networks.append(_network(name))
                except ValueError:
                    raise ValueError(
                        f"'{name[:80]}' is neither an address nor a network; it takes such as 10.0.0.0/8, or *"
                    ) from None

    @property
    def enabled(self) -> bool:
        return self._all or bool(self._networks)

    def trusts(self, peer: str) -> bool:
        """Whether the peer may say for whom it asks, and over which scheme."""
        address = parse(peer)
        return address is not None and self._trusted(address)

    def client(self, peer: str, forwarded_for: str) -> str:
        """The address of the caller: the peer's own, or the last in ``X-Forwarded-For`` that no trusted hop has.

        The list is read from its end, which the nearest hop wrote; entries before the first hop that is not trusted may be
        forged. A peer without an address (a Unix socket) is "".
        """
        address = parse(peer)
        if address is None:
            return ""
        if forwarded_for and self.enabled and self._trusted(address):
            address = self._behind(address, forwarded_for)
        return str(address)

    def _behind(self, address: Address, text: str) -> Address:
        for hop in reversed(text.rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
            hop_address = parse(hop.strip())
            if hop_address is None:
                break
            address = hop_address
            if not self._trusted(address):
                break
        return address

    def _trusted(self, address: Address) -> bool:
        return self._all or any(address in network for network in self._networks)


def caller_of(address: str) -> str:
    """The caller that an address counts as: itself, or for IPv6 its network."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((int(ipaddress.IPv6Address(address)) >> 64 << 64, _OWN_NETWORK_BITS)))


def parse(text: str) -> Address | None:
    """An address, with or without a port; IPv4 in IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
