"""Clients that know nothing of us work with API keys, by the headers and metadata that they can send."""

from __future__ import annotations

import pytest

from crossover.rest_gateway.__main__ import main
from crossover.stack.services import running
from tests.graphs import echo_graph, save
from tests.programs import called
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
        return called(main, "keys", "add", name, "--scopes", "infer", environment=settings).stdout.strip()

    (folder / "own").write_text(add("gateway"))
    key = add("caller")
    with (folder / "log").open("wb") as log, running(settings, log) as stack:
        yield stack, key


@needs_clients
@pytest.mark.clients
def test_unmodified_clients_show_their_key(keyed):
    """tritonclient over both wires and kserve; without the key they read why they are refused."""
    stack, key = keyed
    triton = [f"http,{bare(stack.gateway_url)}", f"http,{bare(stack.rest_url)}", f"grpc,{stack.grpc_target}"]
    for rows in (triton, [f"kserve,{url}" for url in (stack.gateway_url, stack.rest_url)]):
        assert ran(CLIENTS, HERE / "keyed_round_trip.py", key, *rows).splitlines() == [f"passed {row}" for row in rows]
