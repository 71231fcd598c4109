"""ONNX's backend node tests, asked through unmodified tritonclient over every wire and compared with ONNX Runtime itself."""

from __future__ import annotations

import json
import pickle

import pytest

from crossover.protocol.datatypes import DATATYPES
from crossover.stack.services import running
from tests.real_clients import node_cases
from tests.real_clients.test_real_clients import CLIENTS, HERE, bare, needs_clients, ran

WIRES = ("http binary", "http json", "grpc", "grpc stream")
MOST_SECONDS = 900
MUST_PASS = 500

pytestmark = [needs_clients, pytest.mark.clients, pytest.mark.slow, pytest.mark.timeout(MOST_SECONDS)]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """(stack that serves every case, the cases, a file that holds them)."""
    folder = tmp_path_factory.mktemp("cases")
    repository = folder / "repository"
    repository.mkdir()
    cases = node_cases.build(repository)
    file = folder / "cases.pickle"
    file.write_bytes(pickle.dumps(cases.served))
    settings = {"MODEL_REPOSITORY": str(repository), "MODEL_CONTROL": "none", "DATA_DIR": str(folder / "data")}
    with (folder / "stack.log").open("wb") as log, running(settings, log) as stack:
        yield stack, cases, file


@pytest.mark.parametrize(
    ("service", "wire"), [*(("model server", wire) for wire in WIRES), *(("gateway", wire) for wire in WIRES[:2])]
)
def test_every_case_on(asked, capsys, service, wire):
    """Each answer is ONNX Runtime's own: every datatype, ranks from 0, empty tensors, several outputs; none is left out silently."""
    stack, cases, file = asked
    http = stack.gateway_url if service == "gateway" else stack.rest_url
    address = bare(http) if wire.startswith("http") else stack.grpc_target
    report = json.loads(ran(CLIENTS, HERE / "node_case_client.py", wire, address, file, within=MOST_SECONDS))
    seen, tried = report["seen"], len(cases.served) - report["left_out"]
    with capsys.disabled():
        print(
            f"\n{wire} at the {service}: {seen['passed']} of {tried} cases; JSON has no form for {report['left_out']}"
        )
        print(f"left out on every wire: {dict(cases.left_out)}")
    assert report["failures"] == {}
    assert seen["passed"] == tried >= MUST_PASS
    carried = set(DATATYPES) - ({"FP16", "BF16"} if wire == "http json" else set())
    assert not {"rank 0", "rank 1", "rank 4", "empty", "several outputs", *carried} - {
        key for key, count in seen.items() if count
    }
