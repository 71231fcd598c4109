"""Every setting of both services: what `python -m stack` takes, and docs/settings.md lists."""

from __future__ import annotations

from typing import ClassVar

from crossover.model_server.settings import ModelServerSettings
from crossover.rest_gateway.settings import GatewaySettings
from crossover.service.config_file import TABLES
from crossover.stack.services import free_ports

PORTS = ("model_server_http_port", "model_server_grpc_port", "gateway_port")


class StackSettings(GatewaySettings, ModelServerSettings):
    """Both services' settings; port 0 means any free one."""

    tables: ClassVar[tuple[str, ...]] = TABLES

    def with_ports(self) -> StackSettings:
        """The same settings with a free port wherever 0 was asked for, so that both services know it."""
        wanted = [name for name in PORTS if getattr(self, name) == 0]
        return self.model_copy(update=dict(zip(wanted, free_ports(len(wanted)), strict=True)))
