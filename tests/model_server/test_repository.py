"""The repository follows the disk, and a bad model never takes a good one with it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.repository import Repository
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from tests.graphs import echo_graph, save

CONTEXT = CallContext()


def constant(path: Path, name: str, version: int, value: float) -> Path:
    """A model that answers with one number, so that versions can be told apart."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "zero"], ["nothing"]), helper.make_node("Add", ["nothing", "value"], ["y"])],
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        [
            onnx.numpy_helper.from_array(np.array(0, np.float32), "zero"),
            onnx.numpy_helper.from_array(np.array(value, np.float32), "value"),
        ],
    )
    return save(path, name, graph, version)


async def opened(path: Path, control: str = "poll", seconds: float = 0.05) -> Engine:
    engine = Engine(Repository(path, control, seconds), Executor())
    await engine.repository.start()
    return engine


async def answer(engine: Engine, model: str = "m", version: str = "") -> float:
    request = InferRequest(model, [Tensor.from_array("x", np.zeros(1, "f4"))], version)
    return float((await engine.infer(request, CallContext())).outputs[0].array[0])


async def states(engine: Engine) -> dict[tuple[str, str], tuple[str, str]]:
    index = await engine.repository_index(False, CONTEXT)
    return {(model.name, model.version): (model.state, model.reason) for model in index.models}


async def until(condition) -> None:
    """Return when the condition holds; the test's own time limit is the bound."""
    while not await condition():
        await asyncio.sleep(0.02)


async def test_the_highest_version_serves_by_default(tmp_path):
    """Policy `latest` serves the highest number; 10 is higher than 9; other folders are no versions."""
    for version in (2, 9, 10):
        constant(tmp_path, "m", version, version)
    (tmp_path / "m" / "011").mkdir()
    (tmp_path / "m" / "notes").mkdir()
    engine = await opened(tmp_path, "none")
    assert await answer(engine) == 10
    with pytest.raises(InferenceError) as caught:
        await answer(engine, version="9")
    assert caught.value.code is Code.NOT_FOUND
    await engine.close()


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("all: {}", [1, 2, 3]),
        ("latest: { num_versions: 2 }", [2, 3]),
        ("specific: { versions: [1, 3, 7] }", [1, 3]),
    ],
)
async def test_version_policies(tmp_path, policy, served):
    """The policy in config.pbtxt chooses the versions; each can be asked for by number."""
    for version in (1, 2, 3):
        constant(tmp_path, "m", version, version)
    (tmp_path / "m" / "config.pbtxt").write_text(f"version_policy: {{ {policy} }}")
    engine = await opened(tmp_path, "none")
    assert (await engine.model_metadata("m", "", CONTEXT)).versions == [str(version) for version in served]
    assert [await answer(engine, version=str(version)) for version in served] == served
    assert await answer(engine) == served[-1]
    await engine.close()


async def test_added_and_changed_versions_are_swapped_under_load(tmp_path):
    """While requests keep coming, a new version and then changed files take over, and not one request fails."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path)
    seen: list[float] = []
    done = asyncio.Event()

    async def ask() -> None:
        while not done.is_set():
            seen.append(await answer(engine))
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask()) for _ in range(4)]

    async def answers(value: float) -> bool:
        return bool(seen) and seen[-1] == value

    await until(lambda: answers(1))
    constant(tmp_path, "m", 2, 2)
    await until(lambda: answers(2))
    constant(tmp_path, "m", 2, 22)
    await until(lambda: answers(22))
    done.set()
    await asyncio.gather(*asking)
    assert set(seen) == {1, 2, 22}
    await engine.close()


BAD = {
    "corrupt": b"this is no model",
    "empty": b"",
    "half written": None,
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_version_leaves_the_good_one_serving(tmp_path, kind):
    """A version that can't be loaded is UNAVAILABLE with the reason; the last good one serves on, then the mended one."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path)
    path = tmp_path / "m" / "2" / "model.onnx"
    path.parent.mkdir()
    whole = constant(tmp_path, "other", 1, 2).read_bytes()
    path.write_bytes(BAD[kind] if BAD[kind] is not None else whole[:-20])

    async def listed() -> bool:
        return (await states(engine)).get(("m", "2"), ("", ""))[0] == "UNAVAILABLE"

    await until(listed)
    assert (await states(engine))["m", "2"][1]
    assert await answer(engine) == 1
    path.write_bytes(whole)

    async def mended() -> bool:
        return await answer(engine) == 2

    await until(mended)
    await engine.close()


async def test_overwriting_with_a_bad_file_keeps_the_loaded_one(tmp_path):
    """A version whose file turns bad goes on serving from memory, and the index tells the reason."""
    path = constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path)
    path.write_bytes(b"broken")

    async def told() -> bool:
        return (await states(engine))["m", "1"][0] == "UNAVAILABLE"

    await until(told)
    assert await answer(engine) == 1
    await engine.close()


def _graph_with(node, inputs, outputs):
    return helper.make_graph([node], "g", inputs, outputs)


def _sequence() -> onnx.GraphProto:
    return _graph_with(
        helper.make_node("SequenceConstruct", ["x"], ["y"]),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)],
    )


def _unknown_operator() -> onnx.GraphProto:
    return _graph_with(
        helper.make_node("NoSuchOperator", ["x"], ["y"]),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )


def _outside() -> onnx.GraphProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../../etc/hostname")
    graph = _graph_with(
        helper.make_node("Add", ["x", "w"], ["y"]),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    graph.initializer.append(tensor)
    return graph


@pytest.mark.parametrize(
    ("graph", "says"), [(_sequence(), "tensor"), (_unknown_operator(), "NoSuchOperator"), (_outside(), "outside")]
)
async def test_what_cannot_be_served_is_listed_with_its_reason(tmp_path, graph, says):
    """Unsupported types and operators and data outside the folder are refused; other models and the server stay ready."""
    save(tmp_path, "bad", graph)
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path, "none")
    state, reason = (await states(engine))["bad", "1"]
    assert state == "UNAVAILABLE"
    assert says in reason
    assert str(tmp_path) not in reason
    assert await engine.server_ready(CONTEXT)
    assert await engine.model_ready("bad", "", CONTEXT) is False
    with pytest.raises(InferenceError) as caught:
        await answer(engine, "bad")
    assert caught.value.code is Code.UNAVAILABLE
    assert await answer(engine) == 1
    await engine.close()


async def test_unload_and_load_under_poll(tmp_path):
    """An unloaded model stays away until `load`, or until its files change."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path)
    await engine.unload_model("m", {}, CONTEXT)
    await asyncio.sleep(0.2)
    with pytest.raises(InferenceError) as caught:
        await answer(engine)
    assert caught.value.code is Code.UNAVAILABLE
    await engine.load_model("m", {}, CONTEXT)
    assert await answer(engine) == 1
    await engine.unload_model("m", {}, CONTEXT)
    constant(tmp_path, "m", 1, 5)

    async def back() -> bool:
        return await engine.model_ready("m", "", CONTEXT)

    await until(back)
    assert await answer(engine) == 5
    await engine.close()


async def test_explicit_loads_only_when_told(tmp_path):
    """Under `explicit` nothing is loaded at start, and files are looked at only by `load`."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path, "explicit")
    assert await engine.model_ready("m", "", CONTEXT) is False
    assert (await states(engine))["m", "1"][0] == "UNAVAILABLE"
    await engine.load_model("m", {}, CONTEXT)
    assert await answer(engine) == 1
    with pytest.raises(InferenceError) as caught:
        await engine.load_model("nope", {}, CONTEXT)
    assert caught.value.code is Code.NOT_FOUND
    await engine.close()


async def test_none_refuses_load_and_unload(tmp_path):
    """Under `none` the repository is what it was at start."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path, "none")
    for call in (engine.load_model, engine.unload_model):
        with pytest.raises(InferenceError, match="MODEL_CONTROL=none"):
            await call("m", {}, CONTEXT)
    await engine.close()


async def test_a_model_that_comes_with_load(tmp_path):
    """`load` may bring configuration and files; it serves without touching the repository."""
    constant(tmp_path, "m", 1, 1)
    content = constant(tmp_path / "elsewhere", "other", 1, 42).read_bytes()
    engine = await opened(tmp_path)
    shutil.rmtree(tmp_path / "elsewhere")
    await engine.load_model("m", {"config": "{}", "file:1/model.onnx": content}, CONTEXT)
    assert await answer(engine) == 42
    await asyncio.sleep(0.2)
    assert await answer(engine) == 42
    await engine.load_model("m", {}, CONTEXT)
    assert await answer(engine) == 1
    await engine.close()


async def test_what_a_configuration_names_comes_with_load_too(tmp_path):
    """Labels and values of warm-ups lie beside the versions, as in the repository."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path)
    given = {
        "max_batch_size": 4,
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [-1], "label_filename": "labels.txt"}],
        "model_warmup": [{"name": "w", "batch_size": 1, "inputs": {"x": {"data_type": "TYPE_FP32", "dims": [2], "input_data_file": "x"}}}],
    }  # fmt: skip
    content = save(tmp_path / "elsewhere", "other", echo_graph("FP32")).read_bytes()
    files = {"file:1/model.onnx": content, "file:labels.txt": b"zero\none\n", "file:warmup/x": bytes(8)}
    await engine.load_model("m", {"config": json.dumps(given), **files}, CONTEXT)
    asked = [RequestedOutput("y", {"classification": 1})]
    tensor = Tensor.from_array("x", np.array([[1, 5]], np.float32))
    response = await engine.infer(InferRequest("m", [tensor], outputs=asked), CONTEXT)
    assert response.output("y").array.tolist() == [[b"5.000000:1:one"]]
    with pytest.raises(InferenceError, match="parameter 'config' names the model 'n'"):
        await engine.load_model("m", {"config": '{"name": "n"}'}, CONTEXT)
    await engine.close()


@pytest.mark.parametrize(
    "parameters",
    [
        {"config": "not json"},
        {"config": "{}", "file:model.onnx": b"x"},
        {"config": "{}", "file:1/a/b/model.onnx": b"x"},
        {"config": "{}", "file:1/.hidden": b"x"},
        {"config": "{}", "file:1/a": b"x", "file:1/a/b": b"x"},
        {"file:1/model.onnx": b"x"},
        {"config": "{}", "file:../../x": b"x"},
        {"config": "{}", "file:1/../../x": b"x"},
        {"config": "{}", "file:1/model.onnx": "not base64!"},
        {"config": "{}", "file:1/model.onnx": b"no model"},
        {"config": "{}", "surprise": True},
    ],
)
async def test_bad_uploads_are_refused(tmp_path, parameters):
    """An upload that makes no sense is INVALID_ARGUMENT, and what served serves on."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path)
    with pytest.raises(InferenceError) as caught:
        await engine.load_model("m", parameters, CONTEXT)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert await answer(engine) == 1
    await engine.close()


async def test_a_removed_model_is_gone(tmp_path):
    """A model whose folder is removed is NOT_FOUND."""
    constant(tmp_path, "m", 1, 1)
    engine = await opened(tmp_path)
    shutil.rmtree(tmp_path / "m")

    async def gone() -> bool:
        return not await states(engine)

    await until(gone)
    with pytest.raises(InferenceError) as caught:
        await answer(engine)
    assert caught.value.code is Code.NOT_FOUND
    await engine.close()


TRITON_CONFIG = """
name: "m"
platform: "onnxruntime_onnx"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 }
optimization { execution_accelerators { cpu_execution_accelerator : [ { name : "openvino" } ] } }
"""


async def test_a_triton_repository_works_as_it_is(tmp_path, caplog):
    """Triton's config.pbtxt is read; dims leave out the batch; what is not honoured is named in the log."""
    save(tmp_path, "m", echo_graph("FP32", ["batch", 4]))
    (tmp_path / "m" / "config.pbtxt").write_text(TRITON_CONFIG)
    caplog.set_level("INFO")
    engine = await opened(tmp_path, "none")
    config = await engine.model_config("m", "", CONTEXT)
    assert config.max_batch_size == 8
    assert config.dynamic_batching.preferred_batch_size == [4, 8]
    assert list((await engine.model_metadata("m", "", CONTEXT)).inputs[0].shape) == [-1, 4]
    assert "optimization.execution_accelerators" in caplog.text
    with pytest.raises(InferenceError, match="8"):
        await engine.infer(InferRequest("m", [Tensor.from_array("x", np.zeros((9, 4), "f4"))]), CallContext())
    await engine.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("this is { not", "config.pbtxt"),
        ('name: "another"', "another"),
        ('input [ { name: "z" } ]', "'z'"),
        ('input [ { name: "x" data_type: TYPE_INT8 } ]', "TYPE_INT8"),
        ("ensemble_scheduling { }", "needs steps"),
        ("max_batch_size: -1", "-1"),
    ],
)
async def test_a_bad_configuration_is_a_reason(tmp_path, text, says):
    """A configuration that contradicts the model makes it UNAVAILABLE with a sentence about it."""
    save(tmp_path, "m", echo_graph("FP32"))
    (tmp_path / "m" / "config.pbtxt").write_text(text)
    engine = await opened(tmp_path, "none")
    assert any(state == "UNAVAILABLE" and says in reason for state, reason in (await states(engine)).values())
    await engine.close()
