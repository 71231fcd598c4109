"""Bytes that really went over TCP connections, from the kernel's own socket statistics (sock_diag(7), TCP_INFO).

Counted is what TCP carried both ways (HTTP heads, HTTP/2 frames, bodies), as the services' ports saw it; the headers of
TCP and IP themselves are not in these counters. A connection is counted for as long as it lives, so readings are for
keep-alive pools and channels: one that opens and closes between two readings is missed.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x1 | 0x300
_DONE, _ERROR = 3, 2
_INET_DIAG_INFO = 2
_ESTABLISHED = 1 << 1
_MESSAGE = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBxI")
_ID_BYTES = 48
_ID_AT = 4
_FOUND_BYTES = 72
_BYTES_RECEIVED_AT = 128
_BYTES_SENT_AT = 200
"""Offsets in struct tcp_info (linux/tcp.h): tcpi_bytes_received, tcpi_bytes_sent, each 64 bits."""


class NotCountedError(OSError):
    """The kernel does not tell (no sock_diag, or a tcp_info too old to count bytes sent)."""


def traffic(ports: Iterable[int]) -> dict[bytes, int]:
    """Bytes sent and received so far by each live connection to the local `ports`, seen from the listening side.

    The key is the kernel's identity of the connection, which no later one has.
    """
    wanted = set(ports)
    return {
        identity: sent + received
        for family in (socket.AF_INET, socket.AF_INET6)
        for identity, port, sent, received in _connections(family)
        if port in wanted
    }


def since(before: Mapping[bytes, int], after: Mapping[bytes, int]) -> int:
    """Bytes between two readings: those of new connections, and what the others have more. Closed ones had gone idle."""
    return sum(count - before.get(identity, 0) for identity, count in after.items())


def _connections(family: int) -> list[tuple[bytes, int, int, int]]:
    found: list[tuple[bytes, int, int, int]] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
            body = _QUERY.pack(family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), _ESTABLISHED) + bytes(_ID_BYTES)
            link.send(_MESSAGE.pack(_MESSAGE.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
            while _read(link.recv(1 << 18), found):
                pass
    except OSError as error:
        raise NotCountedError(f"socket statistics cannot be read: {error}") from error
    return found


def _read(data: bytes, found: list[tuple[bytes, int, int, int]]) -> bool:
    at = 0
    while at < len(data):
        length, kind, *_ = _MESSAGE.unpack_from(data, at)
        if kind == _DONE:
            return False
        if kind == _ERROR:
            raise NotCountedError("the kernel refuses socket statistics")
        found.append(_connection(data[at + _MESSAGE.size : at + length]))
        at += (length + 3) & ~3
    return True


def _connection(message: bytes) -> tuple[bytes, int, int, int]:
    identity = message[_ID_AT : _ID_AT + _ID_BYTES]
    port = int.from_bytes(identity[:2], "big")
    at = _FOUND_BYTES
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _INET_DIAG_INFO:
            info = message[at + 4 : at + length]
            if len(info) < _BYTES_SENT_AT + 8:
                raise NotCountedError("this kernel's tcp_info does not count bytes sent")
            received = struct.unpack_from("=Q", info, _BYTES_RECEIVED_AT)[0]
            return identity, port, struct.unpack_from("=Q", info, _BYTES_SENT_AT)[0], received
        at += (length + 3) & ~3
    return identity, port, 0, 0
