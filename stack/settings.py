"""Every setting of both services, as `python -m stack` takes and docs/settings.md lists them."""

from __future__ import annotations

import socket
from typing import ClassVar

from crossover.model_server.settings import ModelServerSettings
from crossover.rest_gateway.settings import GatewaySettings
from crossover.service.config_file import TABLES
from crossover.service.declared import setting
from crossover.service.doors.setup import is_loopback
from crossover.stack.services import free_ports

PORTS = ("model_server_http_port", "model_server_grpc_port", "gateway_port")
_SOMEWHERE = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737): a UDP socket that is connected to it sends nothing, and knows our own address."""


class StackSettings(GatewaySettings, ModelServerSettings):
    """Both services' settings; port 0 means any free one."""

    tables: ClassVar[tuple[str, ...]] = TABLES
    title: ClassVar[str] = "`make run`"

    classroom: bool = setting(
        False,
        description="for a class: the gateway listens for the local network, loading, unloading and uploading models is off, and "
        "the URL for students is printed (make run CLASSROOM=1)",
    )

    def with_ports(self) -> StackSettings:
        """The same settings with a free port wherever 0 was asked for, so that both services know it."""
        names = [name for name in PORTS if getattr(self, name) == 0]
        return self.changed(**dict(zip(names, free_ports(len(names)), strict=True)))

    def with_class(self) -> StackSettings:
        """The same settings, with what `classroom` means; the model server stays as it is."""
        if not self.classroom:
            return self
        host = socket.gethostname()
        names = [name for name in (*self.allowed_hosts.split(","), host, f"{host.partition('.')[0]}.local") if name]
        update: dict[str, object] = {
            "gateway_repository_control": "0",
            "model_server_repository_control": "0",
            "model_uploads": False,
            "allowed_hosts": ",".join(dict.fromkeys(names)),
        }
        if is_loopback(self.gateway_host):
            update["gateway_host"] = "0.0.0.0"  # noqa: S104 - asked for by a setting
        return self.changed(**update)


def local_address() -> str:
    """The address of this host in the local network; the loopback address where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_SOMEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
