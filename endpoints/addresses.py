"""Where a server can listen, and why not: gRPC itself binds what it is given and tells no reason when it can't."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from protocol.wires import UNIX, unix_path


def numeric(host: str) -> list[str]:
    """Numeric addresses that `host` means; OSError, one sentence, for a name that means none."""
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not a host name"
        raise OSError(f"cannot listen on '{host}': {why}") from None
    usable = [address for family, _, _, _, (address, *_) in found if _can_bind(family, str(address))]
    return [str(address) for address in dict.fromkeys(usable)] or [host]


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


def unix_socket(host: str, backlog: int) -> socket.socket:
    """A listening socket at `unix:PATH`; OSError, one sentence, when there can be none. What nobody answers on is replaced."""
    check_unix_free(host)
    path = Path(_path(host))
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()
        bound.bind(os.fspath(path))
        bound.listen(backlog)
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
