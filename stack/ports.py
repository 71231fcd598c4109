"""Check that the ports of both services are free before they start; else say what to do."""

from __future__ import annotations

import errno
import http.client
import json
import socket
from typing import TYPE_CHECKING, NamedTuple

from crossover.service.agreed import url_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossover.stack.settings import StackSettings

_PROBE_SECONDS = 5.0
"""A gateway that nobody has asked for its page yet imports what that takes."""
_OTHERS = "GATEWAY_PORT=0 MODEL_SERVER_HTTP_PORT=0 MODEL_SERVER_GRPC_PORT=0"


class _Place(NamedTuple):
    host: str
    port: int
    setting: str


def taken(chosen: StackSettings) -> str:
    """Empty where all ports are free; else one sentence: who has them, and what to do."""
    used = [place for place in _places(chosen) if _is_used(place)]
    if not used:
        return ""
    place = used[0]
    if place.setting == "GATEWAY_PORT" and _is_gateway(chosen):
        scheme = "https" if chosen.gateway_tls_cert else "http"
        return (
            f"Crossover is running already: open {scheme}://{url_host(place.host)}:{place.port}, or stop it with Ctrl-C where it "
            f"was started; a second one takes free ports with {_OTHERS}"
        )
    return (
        f"port {place.port} of {place.host} is in use by another program; stop that, or choose another port with "
        f"{place.setting} (0: any free one)"
    )


def _places(chosen: StackSettings) -> Iterator[_Place]:
    yield _Place(chosen.gateway_host, chosen.gateway_port, "GATEWAY_PORT")
    yield _Place(chosen.model_server_host, chosen.model_server_http_port, "MODEL_SERVER_HTTP_PORT")
    yield _Place(chosen.model_server_host, chosen.model_server_grpc_port, "MODEL_SERVER_GRPC_PORT")


def _is_used(place: _Place) -> bool:
    """Whether binding fails because the port is in use; the service itself reports any other failure."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _is_gateway(chosen: StackSettings) -> bool:
    """Whether a gateway of ours answers there; with TLS it is not asked."""
    if chosen.gateway_tls_cert:
        return False
    host = url_host(chosen.gateway_host).strip("[]")
    connection = http.client.HTTPConnection(host, chosen.gateway_port, timeout=_PROBE_SECONDS)
    try:
        connection.request("GET", "/page/gateway.json")
        facts = json.loads(connection.getresponse().read(1 << 16))
        return isinstance(facts, dict) and {"version", "upstreams"} <= set(facts)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
