"""Bytes that really went over TCP connections, from the kernel's own socket statistics (sock_diag(7), TCP_INFO).

Counted is what TCP carried both ways (HTTP heads, HTTP/2 frames, bodies), as the services' ports saw it; the headers of
TCP and IP themselves are not in these counters. A connection that opens and closes between two readings is missed, so
readings are for connections that live: keep-alive pools and channels.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST_DUMP = 0x1 | 0x300
_DONE, _ERROR = 3, 2
_INET_DIAG_INFO = 2
_ESTABLISHED = 1 << 1
_MESSAGE = struct.Struct("=IHHII")
_QUERY = struct.Struct("=BBBxI")
_ID_BYTES = 48
_FOUND_BYTES = 72
_BYTES_RECEIVED_AT = 128
_BYTES_SENT_AT = 200
"""Offsets in struct tcp_info (linux/tcp.h): tcpi_bytes_received, tcpi_bytes_sent, each 64 bits."""


class NotCountedError(OSError):
    """The kernel does not tell (no sock_diag, or a tcp_info too old to count bytes sent)."""


def traffic(ports: Iterable[int]) -> int:
    """Bytes sent and received so far over live connections to the local `ports`, seen from the listening side."""
    wanted = set(ports)
    return sum(
        sent + received
        for family in (socket.AF_INET, socket.AF_INET6)
        for port, sent, received in _connections(family)
        if port in wanted
    )


def _connections(family: int) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = []
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as link:
            body = _QUERY.pack(family, socket.IPPROTO_TCP, 1 << (_INET_DIAG_INFO - 1), _ESTABLISHED) + bytes(_ID_BYTES)
            link.send(_MESSAGE.pack(_MESSAGE.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0) + body)
            while _read(link.recv(1 << 18), found):
                pass
    except OSError as error:
        raise NotCountedError(f"socket statistics cannot be read: {error}") from error
    return found


def _read(data: bytes, found: list[tuple[int, int, int]]) -> bool:
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


def _connection(message: bytes) -> tuple[int, int, int]:
    port = int.from_bytes(message[4:6], "big")
    at = _FOUND_BYTES
    while at + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, at)
        if kind == _INET_DIAG_INFO:
            info = message[at + 4 : at + length]
            if len(info) < _BYTES_SENT_AT + 8:
                raise NotCountedError("this kernel's tcp_info does not count bytes sent")
            received = struct.unpack_from("=Q", info, _BYTES_RECEIVED_AT)[0]
            return port, struct.unpack_from("=Q", info, _BYTES_SENT_AT)[0], received
        at += (length + 3) & ~3
    return port, 0, 0
