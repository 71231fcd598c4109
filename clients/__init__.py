"""The calling side: `connect` for async code, `connect_sync` for scripts; one file for each wire."""

from clients.client import Answer, Client, ModelInfo, ModelStatus, TensorInfo, connect
from clients.sync import SyncClient, connect_sync

__all__ = [
    "Answer", "Client", "ModelInfo", "ModelStatus", "SyncClient", "TensorInfo", "connect", "connect_sync",
]  # fmt: skip
