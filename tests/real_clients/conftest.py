"""A real stack over a repository with every datatype, for clients that know nothing of us."""

from __future__ import annotations

import pytest

from crossover.protocol.datatypes import DATATYPES
from crossover.stack.services import running
from tests.graphs import echo_graph, save


@pytest.fixture(scope="session", params=["grpcio", "lean"])
def stack(request, tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("repository")
    for name in DATATYPES:
        save(folder, f"echo-{name}", echo_graph(name))
    for name in ("digits", "work"):
        (folder / name).symlink_to(root / "models" / name)
    settings = {
        "MODEL_REPOSITORY": str(folder),
        "DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "GATEWAY_UPSTREAM_HEADER": "1",
        "GATEWAY_REPOSITORY_CONTROL": "1",
        "GATEWAY_TIMING": "1",
        "MODEL_SERVER_GRPC_LIBRARY": request.param,
    }
    log = (folder / "crossover.stack.log").open("wb")
    with running(settings, log) as stack:
        yield stack
