"""Where a server can listen, and why not. grpcio binds what it is given and tells no reason when it can't; for the ports
that are ours the sockets are made here.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from crossover.protocol.wires import UNIX, unix_path

BACKLOG = 2048
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""A name such as localhost may mean ::1 where IPv6 is switched off; one address that works is enough."""


def listening(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Listening sockets on every address that `host` means, all with the same port, or on `unix:PATH`.

    `shared`: other processes listen there too (SO_REUSEPORT), and the system gives each connection to one of them.
    OSError, one sentence, where that is not possible.
    """
    return [_unix_socket(host)] if host.startswith(UNIX) else _bound(host, port, partial(_listening, shared=shared))


def reserved(host: str, port: int) -> list[socket.socket]:
    """Sockets that keep an address for processes of ours that share it, and take no connection themselves.

    They are bound alone, so that an address that anybody has is refused, and shared from then on.
    """
    return _bound(host, port, _reserved)


def port_of(bound: socket.socket) -> int:
    """0 for a Unix socket."""
    return 0 if bound.family == socket.AF_UNIX else int(bound.getsockname()[1])


def numeric(host: str) -> list[str]:
    """Numeric addresses that `host` means; OSError, one sentence, for a name that means none."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise _no_host(host, error) from None
    usable = [address for family, _, _, _, (address, *_) in found if _can_bind(family, str(address))]
    return [str(address) for address in dict.fromkeys(usable)] or [host]


def _no_host(host: str, error: Exception) -> OSError:
    why = error.strerror if isinstance(error, OSError) else "it is not a host name"
    return OSError(f"cannot listen on '{host}': {why}")


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def check_unix_free(host: str) -> None:
    """OSError when somebody answers on the socket: gRPC would take its place without a word."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(_path(host))
        except OSError:
            return
    raise OSError(f"cannot listen on {host}: the address is already in use")


def _unix_socket(host: str) -> socket.socket:
    """What nobody answers on is replaced."""
    check_unix_free(host)
    path = Path(_path(host))
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        bound.bind(os.fspath(path))
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise OSError(f"cannot listen on {host}: {error.strerror or error}") from None
    return bound


def refused(host: str, port: int) -> OSError:
    """What binding by hand says about an address that gRPC could not bind."""
    where = host if host.startswith(UNIX) else f"{host} port {port}"
    return OSError(f"cannot listen on {where}: {_why(host, port)}")


def _can_bind(family: int, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _why(host: str, port: int) -> str:
    try:
        if host.startswith(UNIX):
            _try_unix(_path(host))
        else:
            _try_tcp(host, port)
    except OSError as error:
        return error.strerror or str(error)
    return "the address can't be bound"


def _try_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.bind(path)
    with suppress(OSError):
        Path(path).unlink()


def _try_tcp(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen()


def _path(host: str) -> str:
    return os.fspath(Path(unix_path(host)))


Binding = Callable[[int, int, tuple[Any, ...]], socket.socket]


def _bound(host: str, port: int, bind: Binding) -> list[socket.socket]:
    """Sockets on every address that `host` means, all with the same port."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise _no_host(host, error) from None
    sockets: list[socket.socket] = []
    refused: OSError | None = None
    for family, kind, _, _, address in dict.fromkeys(found):
        try:
            sockets.append(bind(family, kind, (address[0], port, *address[2:])))
            port = sockets[0].getsockname()[1]
        except OSError as error:
            refused = error
            if error.errno not in _NO_SUCH_ADDRESS:
                break
    if refused is not None and (not sockets or refused.errno not in _NO_SUCH_ADDRESS):
        close(sockets)
        raise OSError(f"cannot listen on {host} port {port}: {refused.strerror}")
    return sockets


def _listening(family: int, kind: int, address: tuple[Any, ...], *, shared: bool = False) -> socket.socket:
    bound = _socket(family, kind, address, shared=shared)
    try:
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _reserved(family: int, kind: int, address: tuple[Any, ...]) -> socket.socket:
    bound = _socket(family, kind, address, shared=False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return bound


def _socket(family: int, kind: int, address: tuple[Any, ...], *, shared: bool) -> socket.socket:
    bound = socket.socket(family, kind, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
