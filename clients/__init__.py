"""The calling side: `connect` for async code, `connect_sync` for scripts; one file for each wire."""

import os

# gRPC's core writes lines of its own for what we answer in one sentence; it reads this when it is imported
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from crossover.clients.client import Answer, Client, ModelInfo, ModelStatus, TensorInfo, connect
from crossover.clients.sync import SyncClient, connect_sync
from crossover.protocol.errors import Code, InferenceError

__all__ = [
    "Answer", "Client", "Code", "InferenceError", "ModelInfo", "ModelStatus", "SyncClient", "TensorInfo", "connect",
    "connect_sync",
]  # fmt: skip
