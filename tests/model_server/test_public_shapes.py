"""Configurations as public projects write them are served as they are, or refused by the field that cannot be honoured."""

from __future__ import annotations

import numpy as np
import pytest

from crossover.model_server import config
from crossover.model_server.model_error import ModelError
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from tests.model_server import public_shapes
from tests.model_server.conftest import serving

REFUSED = {
    "sequence_accumulator": "config.pbtxt sets sequence_batching, which ",
    "tokenizer_with_a_library": "config.pbtxt sets model_operations.op_library_filename, which ",
    "language_model_elsewhere": "config.pbtxt sets model_transaction_policy.decoupled, which ",
}
NAMED = {
    "encoder_with_tensorrt": {"instance_group.gpus", "instance_group.kind", "optimization.execution_accelerators"},
    "detector_with_openvino": {"optimization.execution_accelerators"},
    "half_precision_ranker": {"instance_group.kind"},
    "priorities_and_resources": {"instance_group.rate_limiter", "instance_group.host_policy"},
    "optimized_in_every_way": {
        "input.allow_ragged_batch", "optimization.priority", "optimization.cuda", "optimization.input_pinned_memory",
        "optimization.output_pinned_memory", "optimization.gather_kernel_buffer_threshold", "optimization.eager_batching",
        "metric_tags", "model_metrics",
    },
}  # fmt: skip
"""What else of each file is said not to be honoured; of the others nothing is."""
SERVED = [name for name in public_shapes.NAMES if name not in REFUSED]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    repository = tmp_path_factory.mktemp("public")
    return repository, public_shapes.build(repository)


def test_there_are_twenty():
    """And what is refused comes on top."""
    assert len(SERVED) >= 20


@pytest.mark.parametrize("name", public_shapes.NAMES)
def test_what_is_not_honoured_is_named(name):
    """By the field's path, once; what is refused says why."""
    if name in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[name]):
            config.from_text(public_shapes.text_of(name), name)
        return
    named = [phrase.split(" (")[0] for phrase in config.read_text(public_shapes.text_of(name), name)[1]]
    assert sorted(named) == sorted(NAMED.get(name, set()))


async def ask(engine, name, inputs, outputs=()):
    tensors = [Tensor.from_array(port, array) for port, _, array in inputs]
    return await engine.infer(InferRequest(name, tensors, outputs=list(outputs)), CallContext())


@pytest.mark.parametrize("name", [name for name in SERVED if name != "text_pipeline"])
async def test_its_model_answers(built, name):
    """With the shapes of the file, what ONNX Runtime itself answers with the shapes of the model."""
    repository, cases = built
    inputs, expected = cases[name]
    async with serving(repository) as engine:
        await engine.repository.load(name, {})
        response = await ask(engine, name, inputs)
        assert response.model_version == ("3" if name == "versions_and_file_name" else "1")
    for tensor, (port, kind, array) in zip(response.outputs, expected, strict=True):
        assert (tensor.name, tensor.datatype.name, tensor.shape) == (port, kind, array.shape)
        np.testing.assert_array_equal(tensor.array, array)


async def test_the_pipeline_answers_with_labels(built):
    """The ensemble loads its parts and has the labels of the one that makes its output."""
    repository, _ = built
    async with serving(repository) as engine:
        await engine.repository.load("text_pipeline", {})
        asked = [RequestedOutput("output", {"classification": 1})]
        response = await ask(engine, "text_pipeline", [("TEXT", "BYTES", np.array([[b"1"], [b"2"]], object))], asked)
        assert response.outputs[0].array.tolist() == [[b"2.000000:0:negative"], [b"4.000000:0:negative"]]


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_harms_nobody(built, name):
    """Its neighbours load and serve."""
    repository, cases = built
    async with serving(repository) as engine:
        with pytest.raises(InferenceError, match=REFUSED[name]):
            await engine.repository.load(name, {})
        await engine.repository.load("two_inputs_of_integers", {})
        await ask(engine, "two_inputs_of_integers", cases["two_inputs_of_integers"][0])
