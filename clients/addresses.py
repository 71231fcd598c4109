"""Where a model server is when nobody says so: what its own settings in the environment say, else its usual ports."""

from __future__ import annotations

import os


def usual() -> dict[str, str]:
    """`grpc` and `rest` of a target, by MODEL_SERVER_HOST, MODEL_SERVER_GRPC_PORT and MODEL_SERVER_HTTP_PORT."""
    host = os.environ.get("MODEL_SERVER_HOST") or "127.0.0.1"
    host = f"[{host}]" if ":" in host else host
    grpc = os.environ.get("MODEL_SERVER_GRPC_PORT") or "8001"
    rest = os.environ.get("MODEL_SERVER_HTTP_PORT") or "8000"
    return {"grpc": f"{host}:{grpc}", "rest": f"http://{host}:{rest}"}
