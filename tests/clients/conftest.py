"""A real model server for the client that applications use."""

from __future__ import annotations

import json

import numpy as np
import pytest

from crossover.stack.services import ServiceProcess, free_ports


class Server:
    """A model server on ports of its own."""

    def __init__(self, log):
        http, grpc = free_ports(2)
        self.environment = {"MODEL_SERVER_HTTP_PORT": str(http), "MODEL_SERVER_GRPC_PORT": str(grpc)}
        self.where = {"grpc": f"127.0.0.1:{grpc}", "rest": f"http://127.0.0.1:{http}"}
        self.service = ServiceProcess("model_server", self.environment, ("127.0.0.1", http), log)


@pytest.fixture(scope="session")
def model_server(tmp_path_factory):
    with (tmp_path_factory.mktemp("clients") / "log").open("wb") as log:
        server = Server(log)
        try:
            server.service.await_ready()
            yield server
        finally:
            server.service.stop()


@pytest.fixture
def where(model_server):
    """Where `connect` is to go."""
    return model_server.where


@pytest.fixture(scope="session")
def sample(root):
    """The first committed digit: its pixels as FP32 [1, 64], and its true label."""
    first = json.loads((root / "models" / "digits" / "samples.json").read_text("utf-8"))["samples"][0]
    return np.array([first["inputs"]], np.float32), first["label"]
