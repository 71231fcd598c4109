"""Ensembles: a graph of models over named tensors in one request, refused at load where it cannot run."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from google.protobuf import json_format
from onnx import TensorProto, helper

from crossover.model_server import config_fields
from crossover.model_server.config import from_text
from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.repository import Repository
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from tests.graphs import adding_graph, echo_graph, save
from tests.model_server.test_batching import slow_graph

CONTEXT = CallContext()


def unary_graph(operator: str):
    """y = operator(x), rows of two."""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"])], operator,
        [value("x", TensorProto.FLOAT, ["n", 2])], [value("y", TensorProto.FLOAT, ["n", 2])],
    )  # fmt: skip


def binary_graph(operator: str):
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node(operator, ["a", "b"], ["y"])], operator,
        [value(name, TensorProto.FLOAT, ["n", 2]) for name in "ab"], [value("y", TensorProto.FLOAT, ["n", 2])],
    )  # fmt: skip


def step(model: str, takes: str, makes: str, version: int = -1) -> str:
    """`takes` and `makes`: pairs `port=tensor` separated by spaces."""
    maps = "".join(
        f"{what} {{ key: '{port}' value: '{tensor}' }} "
        for what, pairs in (("input_map", takes), ("output_map", makes))
        for port, tensor in (pair.split("=") for pair in pairs.split())
    )
    return f"{{ model_name: '{model}' model_version: {version} {maps}}}"


def config(
    *steps: str, inputs: str = "in", outputs: str = "out", batch: int = 0, dims: str = "-1, 2", more: str = ""
) -> str:
    def ports(what: str, names: str) -> str:
        return "".join(
            f"{what} [ {{ name: '{name}' data_type: TYPE_FP32 dims: [ {dims} ] }} ]\n" for name in names.split()
        )

    return (
        f"platform: 'ensemble'\nmax_batch_size: {batch}\n{ports('input', inputs)}{ports('output', outputs)}"
        f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}\n{more}"
    )


CHAIN = config(step("neg", "x=in", "y=middle"), step("exp", "x=middle", "y=out"))
DIAMOND = config(
    step("sum", "a=left b=right", "y=out"), step("neg", "x=in", "y=left"), step("exp", "x=in", "y=right"),
    outputs="out left",
)  # fmt: skip


class Repositories:
    """A folder of models and an engine over it."""

    def __init__(self, path, control: str = "explicit", workers: int = 2) -> None:
        self.path = path
        self.engine = Engine(Repository(path, control, 0.05), Executor(workers))
        for operator, name in (("Neg", "neg"), ("Exp", "exp")):
            save(path, name, unary_graph(operator))
        save(path, "sum", binary_graph("Add"))

    def ensemble(self, name: str, text: str) -> None:
        (self.path / name / "1").mkdir(parents=True, exist_ok=True)
        (self.path / name / "config.pbtxt").write_text(text)

    async def load(self, name: str, text: str) -> None:
        self.ensemble(name, text)
        if not self.engine.repository.started:
            await self.engine.repository.start()
        await self.engine.repository.load(name, {})

    async def ask(self, name: str, *rows, outputs: tuple[str, ...] = (), context: CallContext | None = None):
        tensor = Tensor.from_array("in", np.array(rows, "f4"))
        request = InferRequest(name, [tensor], id="7", outputs=[RequestedOutput(one) for one in outputs])
        return await self.engine.infer(request, context or CallContext())

    async def refused(self, name: str, code: Code, *says: str) -> None:
        with pytest.raises(InferenceError) as caught:
            await self.ask(name, [1, 2])
        assert caught.value.code is code and all(one in caught.value.message for one in says), caught.value

    async def statistics(self, name: str):
        return (await self.engine.model_statistics(name, "", CONTEXT)).model_stats[0]


@pytest.fixture
async def models(tmp_path):
    made = Repositories(tmp_path)
    yield made
    await made.engine.close()


async def test_a_chain_and_a_diamond(models):
    """Values are those of the models one after the other; an ensemble loads its parts; its metadata are its own."""
    await models.load("chain", CHAIN)
    response = await models.ask("chain", [0, 1], [2, 3])
    assert (response.model_name, response.model_version, response.id) == ("chain", "1", "7")
    np.testing.assert_allclose(response.output("out").array, np.exp(-np.array([[0, 1], [2, 3]])), rtol=1e-6)
    await models.load("diamond", DIAMOND)
    response = await models.ask("diamond", [1, 2])
    np.testing.assert_allclose(response.output("out").array, np.exp([[1, 2]]) - [[1, 2]], rtol=1e-6)
    assert response.output("left").array.tolist() == [[-1, -2]]
    shown = await models.engine.model_metadata("diamond", "", CONTEXT)
    assert (shown.platform, [one.name for one in shown.outputs]) == ("ensemble", ["out", "left"])
    assert (await models.engine.model_config("diamond", "", CONTEXT)).ensemble_scheduling.step[0].model_name == "sum"


async def test_each_step_counts_its_own(models):
    """Every request is one of the ensemble and one of each part; a step that no asked output needs does not run."""
    await models.load("diamond", DIAMOND)
    for _ in range(3):
        await models.ask("diamond", [1, 2], [3, 4])
    await models.ask("diamond", [1, 2], outputs=("left",))
    counts = {
        name: (await models.statistics(name)).inference_stats.success.count for name in ("diamond", "neg", "exp", "sum")
    }
    assert counts == {"diamond": 4, "neg": 4, "exp": 3, "sum": 3}
    own = await models.statistics("diamond")
    assert (own.inference_count, own.execution_count) == (4, 4)


async def test_nested(models):
    """An ensemble may be a step of another one; a cycle of ensembles is refused with the way round."""
    await models.load("chain", CHAIN)
    await models.load("outer", config(step("chain", "in=in", "out=half"), step("neg", "x=half", "y=out")))
    response = await models.ask("outer", [0, 1])
    np.testing.assert_allclose(response.output("out").array, -np.exp([[-0.0, -1]]), rtol=1e-6)
    models.ensemble("a", config(step("b", "in=in", "out=out")))
    models.ensemble("b", config(step("a", "in=in", "out=out")))
    with pytest.raises(InferenceError, match=r"a -> b -> a|b -> a -> b"):
        await models.engine.repository.load("a", {})


BATCHED = config(step("slow", "x=in", "y=middle"), step("slow", "x=middle", "y=out"), batch=8, dims="2")


async def test_batched_where_the_parts_are(models):
    """Requests of one ensemble run together in the steps whose models have dynamic_batching, each gets its own rows."""
    save(models.path, "slow", slow_graph("Sqrt"))
    (models.path / "slow" / "config.pbtxt").write_text(
        "max_batch_size: 16\ndynamic_batching { max_queue_delay_microseconds: 20000 }"
    )
    await models.load("batched", BATCHED)
    answers = await asyncio.gather(*(models.ask("batched", [number, number]) for number in range(8)))
    alone = [await models.ask("batched", [number, number]) for number in range(8)]
    for together, one in zip(answers, alone, strict=True):
        np.testing.assert_allclose(together.output("out").array, one.output("out").array, rtol=1e-5)
    part = await models.statistics("slow")
    assert part.inference_count == 32 and part.execution_count < 32
    with pytest.raises(InferenceError, match="batch size 9"):
        await models.ask("batched", *[[1, 1]] * 9)


async def test_response_cache(models):
    """An ensemble's answers may be kept; a part that is loaded again makes them forgotten."""
    await models.load("chain", CHAIN + "response_cache { enable: true }")
    for _ in range(2):
        await models.ask("chain", [1, 2])
    assert (await models.statistics("chain")).inference_stats.cache_hit.count == 1
    assert (await models.statistics("neg")).inference_stats.success.count == 1
    save(models.path, "neg", unary_graph("Abs"))
    await models.engine.repository.load("neg", {})
    response = await models.ask("chain", [1, 2])
    np.testing.assert_allclose(response.output("out").array, np.exp([[1, 2]]), rtol=1e-6)


async def test_parts_that_come_and_go(models):
    """While a part is unloaded the ensemble is UNAVAILABLE with its name; it serves again when the part does."""
    await models.load("chain", CHAIN)
    await models.engine.repository.unload("exp")
    await models.refused("chain", Code.UNAVAILABLE, "step 2 (model 'exp')", "unloaded")
    assert not await models.engine.model_ready("chain", "", CONTEXT)
    lines = {one.name: one for one in (await models.engine.repository_index(False, CONTEXT)).models}
    assert lines["chain"].state == "UNAVAILABLE" and "'exp'" in lines["chain"].reason
    await models.engine.repository.load("exp", {})
    await models.ask("chain", [1, 2])
    assert (await models.statistics("chain")).inference_stats.success.count == 1
    save(models.path, "exp", binary_graph("Mul"))
    await models.engine.repository.load("exp", {})
    await models.refused("chain", Code.UNAVAILABLE, "step 2 (model 'exp')", "'x'")


async def test_parts_may_go_with_their_ensemble(models):
    """`unload_dependents` takes along the parts that the ensemble's load brought, but not what was loaded, or is needed, else."""
    models.ensemble("inner", CHAIN)
    await models.load("outer", config(step("inner", "in=in", "out=middle"), step("sum", "a=middle b=in", "y=out")))
    repository = models.engine.repository
    await repository.load("sum", {})
    served = {"inner", "outer", "neg", "exp", "sum"}
    assert {one.name for one in repository.loaded()} == served
    await models.load("other", config(step("exp", "x=in", "y=out")))
    request = pb.RepositoryModelUnloadRequest(model_name="outer")
    request.parameters["unload_dependents"].string_param = "yes"
    with pytest.raises(InferenceError, match="unload_dependents' is 'yes'; it takes true or false"):
        await models.engine.control("RepositoryModelUnload", request, CONTEXT)
    request.parameters["unload_dependents"].bool_param = True
    await models.engine.control("RepositoryModelUnload", request, CONTEXT)
    assert {one.name for one in repository.loaded()} == {"sum", "exp", "other"}


async def test_files_are_followed(tmp_path):
    """Under poll, parts may come after the ensemble, in any order, and a changed configuration takes effect."""
    models = Repositories(tmp_path, "poll")
    models.ensemble("chain", CHAIN.replace("'exp'", "'later'"))
    await models.engine.repository.start()
    await models.refused("chain", Code.UNAVAILABLE, "step 2 (model 'later')", "no such model")

    async def until(text: str) -> None:
        for _ in range(200):
            try:
                await models.ask("chain", [1, 2])
                return
            except InferenceError as error:
                assert error.code is Code.UNAVAILABLE
            await asyncio.sleep(0.05)
        raise AssertionError(text)

    save(tmp_path, "later", unary_graph("Exp"))
    await until("the part that came was not seen")
    models.ensemble("chain", config(step("neg", "x=in", "y=out")))
    for _ in range(200):
        if (await models.ask("chain", [1, 2])).output("out").array.tolist() == [[-1, -2]]:
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("the changed configuration was not seen")
    models.ensemble("chain", config(step("neg", "x=nowhere", "y=out")))
    for _ in range(200):
        if models.engine.repository.entries["chain"].failed:
            break
        await asyncio.sleep(0.05)
    assert (await models.ask("chain", [1, 2])).output("out").array.tolist() == [[-1, -2]], "what served still does"
    await models.engine.close()


async def test_deadline_and_cancel_run_through(models):
    """A deadline ends the step that runs; when the caller goes nothing of the ensemble waits or runs any more."""
    save(models.path, "slow", slow_graph("Sqrt"))
    steps = [
        step("slow", f"x={'in' if not n else f't{n}'}", f"y={'out' if n == 19 else f't{n + 1}'}") for n in range(20)
    ]
    await models.load("long", config(*steps, dims="-1, 2"))
    await models.ask("long", [1, 2])
    with pytest.raises(InferenceError) as caught:
        await models.ask("long", *[[1, 2]] * 400, context=CallContext(time.monotonic() + 0.02))
    assert caught.value.code in {Code.DEADLINE_EXCEEDED, Code.OVERLOADED} and "step " in caught.value.message
    call = asyncio.create_task(models.ask("long", *[[1, 2]] * 400))
    await asyncio.sleep(0.02)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    for _ in range(200):
        if not models.engine.executor.pending:
            break
        await asyncio.sleep(0.05)
    assert models.engine.executor.pending == 0
    assert [one.pending for one in models.engine.repository.loaded()] == [0] * len(
        list(models.engine.repository.loaded())
    )
    failed = (await models.statistics("long")).inference_stats.fail.count
    assert failed == 2


async def test_a_failing_step_is_named(models):
    """What a step's model refuses reaches the caller with the step's name, and counts as a failure of both."""
    save(models.path, "strict", echo_graph("FP32", [1, 2]))
    await models.load("e", config(step("neg", "x=in", "y=t"), step("strict", "x=t", "y=out")))
    await models.ask("e", [1, 2])
    with pytest.raises(InferenceError, match=r"step 2 \(model 'strict'\): unexpected shape") as caught:
        await models.ask("e", [1, 2], [3, 4])
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert [(await models.statistics(name)).inference_stats.fail.count for name in ("e", "strict", "neg")] == [1, 1, 0]


async def test_optional_inputs(models):
    """An optional input of the ensemble may be left out where the step that takes it can do without."""
    save(models.path, "adding", adding_graph())
    both = config(step("adding", "a=in b=more", "sum=out"), inputs="in more", dims="-1")
    await models.load("e", both.replace("name: 'more'", "optional: true name: 'more'"))
    tensor = Tensor.from_array("in", np.array([1], "f4"))
    response = await models.engine.infer(InferRequest("e", [tensor]), CallContext())
    assert response.outputs[0].array.tolist() == [11]
    with pytest.raises(InferenceError, match="'in' is optional, but step 1"):
        await models.load("f", both.replace("name: 'in'", "optional: true name: 'in'"))


async def test_versions(models):
    """A step may name a version; one that is not there is said with the step."""
    save(models.path, "neg", unary_graph("Abs"), 2)
    (models.path / "neg" / "config.pbtxt").write_text("version_policy { all { } }")
    await models.load("old", config(step("neg", "x=in", "y=out", 1)))
    await models.load("new", config(step("neg", "x=in", "y=out")))
    assert (await models.ask("old", [1, 2])).outputs[0].array.tolist() == [[-1, -2]]
    assert (await models.ask("new", [-1, -2])).outputs[0].array.tolist() == [[1, 2]]
    with pytest.raises(InferenceError, match=r"step 1 \(model 'neg'\).*version 3"):
        await models.load("none", config(step("neg", "x=in", "y=out", 3)))


NEG = step("neg", "x=in", "y=out")
REFUSED = {
    "no steps": ("platform: 'ensemble'", "needs steps"),
    "another platform": (CHAIN.replace("'ensemble'", "'tensorflow_savedmodel'"), "platform"),
    "a backend": (CHAIN + "backend: 'onnxruntime'", "backend 'onnxruntime'"),
    "no model name": (config(step("", "x=in", "y=out")), "step 1"),
    "no input_map": (config(step("neg", "", "y=out")), r"step 1 \(model 'neg'\) has no input_map"),
    "no output_map": (config(step("neg", "x=in", "")), r"step 1 \(model 'neg'\) has no output_map"),
    "itself": (config(step("e", "x=in", "y=out")), "itself"),
    "a missing model": (config(step("nope", "x=in", "y=out")), r"step 1 \(model 'nope'\).*no such model"),
    "an unknown input": (config(step("neg", "z=in", "y=out")), r"step 1 \(model 'neg'\) maps the input 'z'"),
    "an unknown output": (config(step("neg", "x=in", "z=out")), r"step 1 \(model 'neg'\) maps the output 'z'"),
    "an unmapped input": (config(step("sum", "a=in", "y=out")), r"step 1 \(model 'sum'\).*'b'"),
    "a tensor from nowhere": (config(NEG, step("exp", "x=lost", "y=more")), r"step 2 \(model 'exp'\) takes 'lost'"),
    "two makers": (config(NEG, step("exp", "x=in", "y=out")), r"step 2 \(model 'exp'\) makes 'out', which step 1"),
    "an input that is made": (config(NEG, step("exp", "x=out", "y=in")), r"step 2 \(model 'exp'\) makes 'in'"),
    "an unused input": (config(NEG, inputs="in more"), "'more' is used by no step"),
    "an unmade output": (config(NEG, outputs="out more"), "'more' is made by no step"),
    "a cycle": (
        config(NEG, step("sum", "a=in b=q", "y=p"), step("exp", "x=p", "y=q")),
        r"step 2 \(model 'sum'\), step 3 \(model 'exp'\).*cycle",
    ),
    "a datatype": (
        config(step("ints", "x=in", "y=out")), r"'in' is FP32 where the ensemble's input makes it and INT64 where step 1"
    ),
    "an output's datatype": (
        config(NEG).replace("output [ { name: 'out' data_type: TYPE_FP32", "output [ { name: 'out' data_type: TYPE_FP16"),
        r"'out' is FP32 where step 1 \(model 'neg'\) makes it and FP16",
    ),
    "a shape": (config(NEG, dims="-1, 3"), r"'in' has shape \[-1, 3\].*\[-1, 2\] where step 1 \(model 'neg'\)"),
    "a rank": (config(NEG, dims="-1"), r"'in' has shape \[-1\].*step 1"),
    "a shape between steps": (
        config(NEG, step("wide", "x=out", "y=more")), r"'out' has shape \[-1, 2\] where step 1 .*\[-1, 3\] where step 2"
    ),
    "a batch that a part does not take": (
        config(step("few", "x=in", "y=out"), batch=8, dims="2"), r"max_batch_size is 8, but step 1 \(model 'few'\) takes 4"
    ),
    "no data_type": (CHAIN.replace("data_type: TYPE_FP32", ""), "no data_type"),
    "a reshape": (CHAIN.replace("dims: [ -1, 2 ]", "dims: [ -1, 2 ] reshape { shape: [ -1 ] }"), "reshape"),
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
async def test_what_cannot_run_is_refused(models, text):
    """An ensemble that cannot run is refused when it is loaded, with the step or tensor and what is wrong; all else serves."""
    save(models.path, "ints", echo_graph("INT64", ["n", 2]))
    save(models.path, "wide", echo_graph("FP32", ["n", 3]))
    save(models.path, "few", echo_graph("FP32", ["n", 2]))
    (models.path / "few" / "config.pbtxt").write_text("max_batch_size: 4")
    told, says = REFUSED[text]
    with pytest.raises(InferenceError, match=says) as caught:
        await models.load("e", told)
    assert caught.value.code is Code.INVALID_ARGUMENT
    await models.refused("e", Code.UNAVAILABLE)
    await models.load("chain", CHAIN)
    await models.ask("chain", [1, 2])


async def test_a_load_call_may_bring_the_configuration(models):
    """All or nothing, as for a model; the folder's own configuration stands until then."""
    await models.load("e", CHAIN)

    def given(text: str) -> dict[str, str]:
        return {"config": json_format.MessageToJson(from_text(text, "e"))}

    with pytest.raises(InferenceError, match="no such model"):
        await models.engine.repository.load("e", given(config(step("nope", "x=in", "y=out"))))
    assert (await models.ask("e", [0, 0])).outputs[0].array.tolist() == [[1, 1]]
    await models.engine.repository.load("e", given(config(NEG)))
    assert (await models.ask("e", [1, 2])).outputs[0].array.tolist() == [[-1, -2]]


def test_fields_of_models_are_named():
    """What only a model has is named once, not passed over in silence."""
    told = config_fields.named(from_text(CHAIN + "instance_group [ { count: 2 } ]\nmodel_warmup { name: 'w' }", "e"))
    assert [line.split()[0] for line in told] == ["instance_group", "model_warmup"]
