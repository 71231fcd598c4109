"""Clients that know nothing of us work with API keys, by the headers and metadata that they can send."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from crossover.stack.services import running
from tests.graphs import echo_graph, save
from tests.real_clients.test_real_clients import CLIENTS, HERE, bare, needs_clients, ran


@pytest.fixture(scope="module", params=["grpcio", "lean"])
def keyed(request, tmp_path_factory):
    """A stack with keys, and a caller's key."""
    folder = tmp_path_factory.mktemp("keyed")
    save(folder / "models", "echo-FP32", echo_graph("FP32"))
    settings = {
        "MODEL_REPOSITORY": str(folder / "models"), "DATA_DIR": str(folder / "data"), "API_KEYS_FILE": str(folder / "keys"),
        "UPSTREAM_API_KEY_FILE": str(folder / "own"), "MODEL_SERVER_GRPC_LIBRARY": request.param,
    }  # fmt: skip

    def add(name):
        command = [sys.executable, "-m", "rest_gateway", "keys", "add", name, "--scopes", "infer"]
        return subprocess.check_output(command, env={**os.environ, **settings}, text=True, timeout=60).strip()

    (folder / "own").write_text(add("gateway"))
    key = add("caller")
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        yield stack, key


@needs_clients
@pytest.mark.clients
@pytest.mark.parametrize(("kind", "service"), [("http", "gateway"), ("http", "model server"), ("grpc", "model server"),
                                               ("kserve", "gateway"), ("kserve", "model server")])  # fmt: skip
def test_unmodified_clients_show_their_key(keyed, kind, service):
    """tritonclient over both wires and kserve; without the key they read why they are refused."""
    stack, key = keyed
    url = stack.gateway_url if service == "gateway" else stack.rest_url
    where = {"http": bare(url), "grpc": stack.grpc_target, "kserve": url}[kind]
    assert "passed" in ran(CLIENTS, HERE / "keyed_round_trip.py", kind, where, key)
