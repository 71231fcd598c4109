"""A real gRPC port around a fake, and a certificate for it."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from crossover.endpoints.grpc.listener import Listener
from crossover.endpoints.grpc.servicer import GrpcOptions
from crossover.model_server.server import grpc_listener
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target
from crossover.service.metrics import Observer
from crossover.transport.tls import Tls

LIMIT = 1 << 20
LIBRARY = "grpcio"
"""Which library listens; tests/endpoints/grpc runs with each."""
X = np.arange(3, dtype=np.float32)


def listener_of(*given: Any, **more: Any) -> Listener:
    """A listener by the library that is under test."""
    return grpc_listener(LIBRARY)(*given, **more)


@asynccontextmanager
async def listening(
    inference: Any, *, tls: Tls | None = None, observer: Observer | None = None, grace: float = 0.2, **options: Any
) -> AsyncIterator[Target]:
    """Serve `inference`; the target to reach it."""
    options.setdefault("max_message_bytes", LIMIT)
    listener = listener_of(inference, "127.0.0.1", 0, tls, GrpcOptions(**options), observer or Observer())
    await listener.start()
    try:
        yield Target(grpc=f"127.0.0.1:{listener.port}", max_message_bytes=options["max_message_bytes"])
    finally:
        await listener.stop(grace)


def request(identity: str = "", model: str = "echo", **more: Any) -> InferRequest:
    return InferRequest(model, [Tensor.from_array("x", X)], id=identity, **more)


def make_certificate(folder: Path) -> Tls:
    """A certificate for loopback that is its own authority, and its key."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return Tls(cert, key)
