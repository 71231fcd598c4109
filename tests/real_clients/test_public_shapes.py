"""Configurations as public projects write them, asked through unmodified tritonclient over every wire."""

from __future__ import annotations

import json
import pickle

import pytest

from crossover.stack.services import running
from tests.model_server import public_shapes
from tests.real_clients.test_node_cases import WIRES
from tests.real_clients.test_real_clients import CLIENTS, HERE, bare, needs_clients, ran

pytestmark = [needs_clients, pytest.mark.clients, pytest.mark.slow]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """(stack that serves every configuration, a file with what each answers, how many)."""
    folder = tmp_path_factory.mktemp("public")
    repository = folder / "repository"
    repository.mkdir()
    cases = [(name, inputs, outputs) for name, (inputs, outputs) in public_shapes.build(repository).items()]
    file = folder / "cases.pickle"
    file.write_bytes(pickle.dumps(cases))
    settings = {"MODEL_REPOSITORY": str(repository), "MODEL_CONTROL": "none", "DATA_DIR": str(folder / "data")}
    with (folder / "stack.log").open("wb") as log, running(settings, log) as stack:
        yield stack, file, len(cases)


@pytest.mark.parametrize(
    ("service", "wire"), [*(("model server", wire) for wire in WIRES), *(("gateway", wire) for wire in WIRES[:2])]
)
def test_every_configuration_on(asked, service, wire):
    """Each answers what ONNX Runtime does with its model; only FP16 has no form in JSON."""
    stack, file, count = asked
    http = stack.gateway_url if service == "gateway" else stack.rest_url
    address = bare(http) if wire.startswith("http") else stack.grpc_target
    report = json.loads(ran(CLIENTS, HERE / "node_case_client.py", wire, address, file))
    assert report["failures"] == {}
    assert report["seen"]["passed"] == count - (wire == "http json") >= 18
