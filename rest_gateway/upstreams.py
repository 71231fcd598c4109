"""The gateway's upstreams: one client for each wire of the registry, made when it is first asked for."""

from __future__ import annotations

from protocol.inference import Inference
from protocol.wires import Target, connect, wire

HEADER = "inference-upstream"


class Upstreams:
    """`get` answers with the upstream's name and its client; a name that is not in the registry is refused."""

    def __init__(self, default: str, target: Target) -> None:
        self.default = wire(default).name
        self._target = target
        self._connected: dict[str, Inference] = {}

    def get(self, name: str | None = None) -> tuple[str, Inference]:
        chosen = self.default if name is None else name
        client = self._connected.get(chosen)
        if client is None:
            client = self._connected[wire(chosen).name] = connect(chosen, self._target)
        return chosen, client

    async def close(self) -> None:
        clients = list(self._connected.values())
        self._connected.clear()
        for client in clients:
            await client.close()
