"""Real models of the Python index answer through unmodified tritonclient over every wire as they do in ONNX Runtime."""

from __future__ import annotations

import json
import pickle

import pytest

from crossover.stack.services import running
from tests.real_clients import real_models
from tests.real_clients.test_node_cases import WIRES
from tests.real_clients.test_real_clients import CLIENTS, HERE, bare, needs_clients, ran

MUST_PASS = 10

pytestmark = [needs_clients, pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """(stack that serves every model, a file with what each answers, how many)."""
    packages, reason = real_models.fetched()
    if not packages:
        pytest.skip(f"the packages with the models can't be fetched: {reason}")
    folder = tmp_path_factory.mktemp("real")
    repository = folder / "repository"
    cases = real_models.build(repository, packages)
    file = folder / "cases.pickle"
    file.write_bytes(pickle.dumps(cases))
    settings = {"MODEL_REPOSITORY": str(repository), "MODEL_CONTROL": "none", "DATA_DIR": str(folder / "data")}
    with (folder / "stack.log").open("wb") as log, running(settings, log) as stack:
        yield stack, file, [name for name, _, _ in cases]


@pytest.mark.parametrize(
    ("service", "wire"), [*(("model server", wire) for wire in WIRES), *(("gateway", wire) for wire in WIRES[:2])]
)
def test_every_model_on(asked, capsys, service, wire):
    """Speech, pictures, text recognition, file types and music: each answer is ONNX Runtime's own."""
    stack, file, names = asked
    http = stack.gateway_url if service == "gateway" else stack.rest_url
    address = bare(http) if wire.startswith("http") else stack.grpc_target
    report = json.loads(ran(CLIENTS, HERE / "node_case_client.py", wire, address, file, within=300))
    with capsys.disabled():
        print(f"\n{wire} at the {service}: {report['seen']['passed']} of {len(names)} models ({', '.join(names)})")
    assert report["failures"] == {}
    assert report["seen"]["passed"] == len(names) >= MUST_PASS
