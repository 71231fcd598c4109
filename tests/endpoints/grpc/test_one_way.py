"""Every guard of a gRPC call stands once: unary calls, control calls and messages of streams pass the same function."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import crossover
from crossover.endpoints.grpc import answer as answer_module
from crossover.service.metrics import Observer
from tests.fakes import RecordingInference
from tests.grpc_service import listening, request

FOLDER = Path(answer_module.__file__).parent
CONCERNS = {
    "started": 1, "finished": 1, "CallContext": 1, "TimeLimit": 1, "too_large": 2, "_admit": 1, "decode": 1, "encode": 1,
    "_performed": 1, "infer": 1, "control": 1, "_infer_now": 1,
}  # fmt: skip
"""What is called by these names in the endpoint, and from how many places. Health asks on its own behalf; the lean
port refuses a message by its announced length too, before there is anything to answer."""


def called() -> dict[str, list[str]]:
    """Where each of the names is called in the endpoint's own files."""
    places: dict[str, list[str]] = {name: [] for name in CONCERNS}
    for file in sorted(FOLDER.glob("*.py")):
        if file.name == "health.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if name in places:
                    places[name].append(f"{file.name}:{node.lineno}")
    return places


@pytest.mark.parametrize("name", CONCERNS)
def test_each_concern_has_one_call_site(name):
    """A second one would be a second way in, which would lack the next guard."""
    places = called()[name]
    assert len(places) == CONCERNS[name], places
    assert places[0].startswith("answer.py:")


def test_the_registry_s_infer_paths_are_not_written_elsewhere():
    """The library's listeners know nothing of tensors or deadlines of requests."""
    root = Path(crossover.__file__).parent
    for file in sorted((root / "transport" / "grpcio").glob("*.py")):
        assert "InferRequest" not in file.read_text("utf-8"), file


async def test_every_kind_of_call_is_counted_alike(library):
    """Unary, control and streamed calls begin and end in the same metrics, errors with their code."""
    from crossover.clients import grpc_stream, grpc_unary
    from crossover.protocol.errors import InferenceError
    from crossover.protocol.inference import CallContext

    observer = Observer()
    async with listening(RecordingInference(), observer=observer) as target:
        for connect in (grpc_unary.connect, grpc_stream.connect):
            client = connect(target)
            await client.infer(request(), CallContext())
            with pytest.raises(InferenceError):
                await client.infer(request(model="nope"), CallContext())
            with pytest.raises(InferenceError):
                await client.model_config("nope", "", CallContext())
            await client.close()
    text = observer.render().decode()
    for method in ("ModelInfer", "ModelStreamInfer", "ModelConfig"):
        assert f'code="NOT_FOUND",model="",route="{method}",wire="grpc"' in text
    assert 'crossover_requests_in_flight{wire="grpc"} 0.0' in text
