"""Which names this service answers to: the defence against DNS rebinding.

A page of `evil.example` may let its name point to our address; its requests then look same-origin to the browser, but
they carry its name in ``Host``. An address or a loopback name in ``Host`` cannot be somebody else's.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")
_ALLOWED = re.compile(r"\*|(?:\*?\.)?[a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_])?|\[?[0-9a-f:.]+\]?")
LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class HostPort:
    """An authority (RFC 9110 7.2) in one form: lower case, addresses as `ipaddress` writes them, no final dot."""

    host: str
    port: int | None
    is_address: bool


def parse(text: str) -> HostPort | None:
    """The host and port of a ``Host`` field, which may name a port and may not name a user; None when it is malformed."""
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        port = _port(rest)
        address = _address(literal) if bracket else None
        if address is None or address.version != 6 or port is _BAD:
            return None
        return HostPort(str(address), port, is_address=True)
    name, _, _ = text.partition(":")
    port = _port(text[len(name) :])
    name = name.lower().removesuffix(".")
    if port is _BAD or not _NAME.fullmatch(name):
        return None
    address = _address(name)
    return HostPort(name if address is None else str(address), port, is_address=address is not None)


_BAD = -1


def _port(text: str) -> int | None:
    """None without a port (RFC 3986 3.2.3 allows an empty one); `_BAD` for a malformed one."""
    if text in ("", ":"):
        return None
    if not text.startswith(":") or not _PORT.fullmatch(text[1:]) or int(text[1:]) > LARGEST_PORT:
        return _BAD
    return int(text[1:])


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_loopback_name(host: str) -> bool:
    """RFC 6761 6.3: `localhost` and the names under it never leave the host."""
    return host == "localhost" or host.endswith(".localhost")


class AllowedHosts:
    """IP literals, loopback names, the name that the port is bound by, and what the setting adds."""

    def __init__(self, names: Iterable[str] = (), bound: str = "") -> None:
        """`names`: exact ones, ``.example.org`` for everything under it, ``*`` for all; ValueError, one sentence."""
        names = [name.strip().lower().removesuffix(".") for name in names if name.strip()]
        for name in names:
            if not _ALLOWED.fullmatch(name):
                raise ValueError(
                    f"'{name[:80]}' is not a host's name; it takes names, .example.org for all under it, or *"
                )
        self._all = "*" in names
        self._suffixes = tuple(name.removeprefix("*") for name in names if name.startswith((".", "*.")))
        self._names = frozenset({*(name for name in names if not name.startswith((".", "*"))), bound.lower()})

    def allows(self, authority: HostPort) -> bool:
        host = authority.host
        return (
            authority.is_address
            or is_loopback_name(host)
            or self._all
            or host in self._names
            or host.endswith(self._suffixes)
        )
