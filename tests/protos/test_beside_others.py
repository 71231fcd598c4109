"""Our contract lives in one process with clients that declare the same names, and agrees with theirs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

CLIENTS = Path(__file__).resolve().parents[2] / ".venv-clients" / "bin" / "python"

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not CLIENTS.exists(), reason=".venv-clients is not installed (make test installs it)"),
]

OURS = "from crossover.protos import inference as pb"
THEIRS = "import tritonclient.grpc; from tritonclient.grpc import service_pb2 as theirs"
ACROSS = """
request = pb.ModelInferRequest(model_name="m", id="7", raw_input_contents=[b"\\0\\1"])
request.inputs.add(name="x", datatype="INT16", shape=[1]).parameters["half"].double_param = 0.5
there = theirs.ModelInferRequest.FromString(request.SerializeToString())
assert there.inputs[0].parameters["half"].double_param == 0.5
assert pb.ModelInferRequest.FromString(there.SerializeToString()) == request
assert type(there) is not type(request)
print("same bytes")
"""
FIELDS = """
import json
from tritonclient.grpc import service_pb2, model_config_pb2
from crossover.protos import inference as pb

def fields(message):
    return {field.name: [field.number, field.type, field.is_repeated] for field in message.fields}

def compared(name, ours, theirs):
    report[name] = [fields(ours), fields(theirs)]
    for nested in ours.nested_types:
        if nested.name in theirs.nested_types_by_name:
            compared(f"{name}.{nested.name}", nested, theirs.nested_types_by_name[nested.name])

report = {}
for file in ("open_inference", "model_config"):
    for name, message in pb.POOL.FindFileByName(f"{file}.proto").message_types_by_name.items():
        module = service_pb2 if hasattr(service_pb2, name) else model_config_pb2
        compared(name, message, getattr(module, name).DESCRIPTOR)
print(json.dumps(report))
"""
ONLY_OIP = {"ModelMetadataResponse": {"properties"}}  # in the OIP specification, not in Triton's


def run(root: Path, program: str) -> str:
    done = subprocess.run([CLIENTS, "-c", program], cwd=root, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("order", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours first", "theirs first"])
def test_messages_cross_over(root, order):
    """Whichever is imported first, both work, and what one writes the other reads."""
    assert run(root, "\n".join([*order, ACROSS])) == "same bytes\n"


def test_fields_agree_with_tritons(root):
    """Each of our fields has the number, type and label that Triton's own client declares for that name."""
    report = json.loads(run(root, FIELDS))
    assert len(report) > 60
    for name, (ours, theirs) in report.items():
        expected = {field: theirs.get(field) for field in ours if field not in ONLY_OIP.get(name, set())}
        assert {field: ours[field] for field in expected} == expected, name
