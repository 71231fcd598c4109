"""The calling side: `connect` for async code, `connect_sync` for scripts; one file for each wire.

Names are imported when they are first asked for (PEP 562), so that the command line can answer Ctrl-C before grpcio is in.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

# gRPC's core writes lines of its own for what we answer in one sentence; it reads this when it is imported
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

if TYPE_CHECKING:
    from crossover.clients.client import Answer, Client, ModelInfo, ModelStatus, TensorInfo, connect
    from crossover.clients.sync import SyncClient, connect_sync
    from crossover.protocol.errors import Code, InferenceError

__all__ = [
    "Answer", "Client", "Code", "InferenceError", "ModelInfo", "ModelStatus", "SyncClient", "TensorInfo", "connect",
    "connect_sync",
]  # fmt: skip
_MODULES = {
    "crossover.clients.client": ("Answer", "Client", "ModelInfo", "ModelStatus", "TensorInfo", "connect"),
    "crossover.clients.sync": ("SyncClient", "connect_sync"),
    "crossover.protocol.errors": ("Code", "InferenceError"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
