"""One suite for every wire in the registry: what goes in comes out, and what is wrong is told the same way."""

from __future__ import annotations

import asyncio
import time

import ml_dtypes
import numpy as np
import pytest

from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline

pytestmark = pytest.mark.asyncio(loop_scope="module")

VALUES = {
    "BOOL": [[True, False]],
    "FP16": [[1.5, np.nan, np.inf, -0.0]],
    "BF16": [[1.5, -2.0, np.inf]],
    "FP32": [[1.1, np.nan, np.inf, -np.inf, -0.0, 3.4e38, 1e-45]],
    "FP64": [[1.1, np.nan, np.inf, -np.inf, -0.0, 1.7e308, 5e-324, 0.1 + 0.2]],
    "BYTES": [["", "a", "ä한", "with \0 zero", "x" * 300]],
}


def values(name: str) -> np.ndarray:
    row = DATATYPES[name]
    if row.kind == "int":
        return np.array([[row.low, row.high, 0, 1]], row.dtype)
    if name == "BF16":
        return np.array(VALUES[name], ml_dtypes.bfloat16)
    return np.array(VALUES[name], row.dtype)


def echo(name: str, array: np.ndarray, **more) -> InferRequest:
    return InferRequest(f"echo-{name}", [Tensor.from_array("x", array, DATATYPES[name])], **more)


@pytest.mark.parametrize("name", DATATYPES)
async def test_every_datatype_comes_back_or_is_refused(wired, name):
    """A datatype that the wire carries comes back bit for bit; another is NOT_CARRIED and names a wire that can."""
    wire, client, _ = wired
    array = values(name)
    if name not in wire.carries:
        with pytest.raises(InferenceError, match=wire.instead) as caught:
            await client.infer(echo(name, array), CallContext())
        assert caught.value.code is Code.NOT_CARRIED
        return
    answer = await client.infer(echo(name, array), CallContext())
    got = answer.output("y")
    assert got.shape == array.shape
    if name == "BYTES":
        assert [text.decode() for text in got.array.ravel()] == array.ravel().tolist()
    else:
        np.testing.assert_array_equal(got.array, array)
        assert np.array_equal(np.signbit(got.array.astype("f8")), np.signbit(array.astype("f8"))) or name == "FP32"


@pytest.mark.parametrize("name", DATATYPES)
async def test_empty_tensors_keep_their_shape(wired, name):
    """A tensor without elements is legal and comes back with its shape."""
    wire, client, _ = wired
    if name not in wire.carries:
        return
    answer = await client.infer(echo(name, np.zeros((0, 3), DATATYPES[name].dtype)), CallContext())
    assert answer.output("y").shape == (0, 3)


async def test_scalars(wired):
    """Shape [] is one element."""
    _, client, _ = wired
    answer = await client.infer(InferRequest("scalar", [Tensor.from_array("x", np.array(2.5, "f4"))]), CallContext())
    assert answer.output("y").shape == ()
    assert answer.output("y").array.item() == 2.5


async def test_names_that_are_odd_in_a_url(wired):
    """A model may be called what a folder may be called."""
    _, client, _ = wired
    request = InferRequest("odd name ü%", [Tensor.from_array("x", np.ones((1, 1), "f4"))])
    assert (await client.infer(request, CallContext())).model_name == "odd name ü%"
    assert await client.model_ready("odd name ü%", "", CallContext())


async def test_large_tensors(wired):
    """A megabyte goes there and back."""
    _, client, _ = wired
    array = np.random.default_rng(1).random((1, 131_072), dtype="f4")
    answer = await client.infer(echo("FP32", array), CallContext())
    np.testing.assert_array_equal(answer.output("y").array, array)


async def test_ids_versions_and_outputs(wired):
    """The id is echoed, the version told, and outputs come as asked for, in that order."""
    _, client, _ = wired
    inputs = [Tensor.from_array("b", np.array([2], "f4")), Tensor.from_array("a", np.array([1, 2], "f4"))]
    request = InferRequest("adding", inputs, "1", "id ü", [RequestedOutput("difference"), RequestedOutput("sum")])
    answer = await client.infer(request, CallContext())
    assert (answer.id, answer.model_version) == ("id ü", "1")
    assert [(tensor.name, tensor.array.tolist()) for tensor in answer.outputs] == [
        ("difference", [-1, 0]),
        ("sum", [3, 4]),
    ]


async def test_optional_inputs(wired):
    """An input with an initialiser may be left out."""
    _, client, _ = wired
    answer = await client.infer(InferRequest("adding", [Tensor.from_array("a", np.array([1], "f4"))]), CallContext())
    assert answer.output("sum").array.tolist() == [11]


X = Tensor.from_array("x", np.ones((1, 2), "f4"))


@pytest.mark.parametrize(
    ("request_", "code", "says"),
    [
        (InferRequest("nope", [X]), Code.NOT_FOUND, "nope"),
        (InferRequest("echo-FP32", [X], "7"), Code.NOT_FOUND, "7"),
        (InferRequest("echo-FP32", []), Code.INVALID_ARGUMENT, "missing"),
        (InferRequest("echo-FP32", [X, X]), Code.INVALID_ARGUMENT, "already exists"),
        (InferRequest("echo-FP32", [Tensor.from_array("z", np.ones((1, 2), "f4"))]), Code.INVALID_ARGUMENT, "'z'"),
        (InferRequest("echo-FP32", [Tensor.from_array("x", np.ones((1, 2), "f8"))]), Code.INVALID_ARGUMENT, "FP64"),
        (InferRequest("echo-FP32", [Tensor.from_array("x", np.ones(2, "f4"))]), Code.INVALID_ARGUMENT, r"\[-1, -1\]"),
        (InferRequest("echo-FP32", [X], outputs=[RequestedOutput("q")]), Code.INVALID_ARGUMENT, "'q'"),
        (InferRequest("echo-FP32", [X], outputs=[RequestedOutput("y")] * 2), Code.INVALID_ARGUMENT, "already"),
        (
            InferRequest("echo-FP32", [X], outputs=[RequestedOutput("y", {"classification": 0})]),
            Code.INVALID_ARGUMENT,
            "class",
        ),
        (InferRequest("echo-FP32", [X], parameters={"timeout": -5}), Code.INVALID_ARGUMENT, "microseconds"),
    ],
)
async def test_errors_mean_the_same(wired, request_, code, says):
    """What is wrong has one code and one sentence on every wire, and the next call works."""
    _, client, _ = wired
    with pytest.raises(InferenceError, match=says) as caught:
        await client.infer(request_, CallContext())
    assert caught.value.code is code
    assert "Traceback" not in caught.value.message
    assert (await client.infer(InferRequest("echo-FP32", [X]), CallContext())).output("y").count == 2


def work(turns: int, **parameters) -> InferRequest:
    inputs = [Tensor.from_array("x", np.ones((1, 16), "f4")), Tensor.from_array("turns", np.array([turns]))]
    return InferRequest("work", inputs, parameters=parameters)


@pytest.mark.parametrize("how", ["context", "parameter"])
async def test_deadlines(wired, how):
    """A call whose time is over ends with DEADLINE_EXCEEDED, and the engine stops working on it."""
    _, client, engine = wired
    request = work(10**8, timeout=200_000) if how == "parameter" else work(10**8)
    context = CallContext(time.monotonic() + 0.2) if how == "context" else CallContext()
    with pytest.raises(InferenceError) as caught:
        await client.infer(request, context)
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    await _idle(client, engine)


async def test_passed_deadlines_start_nothing(wired):
    """Work whose time is over is not started."""
    _, client, _ = wired
    with pytest.raises(InferenceError) as caught:
        await client.infer(work(1), CallContext(time.monotonic() - 1))
    assert caught.value.code is Code.DEADLINE_EXCEEDED


async def test_cancelling_reaches_the_engine(wired):
    """A caller that goes away stops the work."""
    _, client, engine = wired
    call = asyncio.create_task(client.infer(work(10**8), CallContext()))
    await asyncio.sleep(0.3)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await _idle(client, engine)


async def _idle(client, engine) -> None:
    """Return when no run is under way; the test's own time limit is the bound."""
    inner = getattr(client, "inner", None)
    real = inner if hasattr(inner, "executor") else engine
    while real.executor.pending:
        await asyncio.sleep(0.02)


async def test_many_at_once(wired):
    """Answers reach those who asked."""
    _, client, _ = wired

    async def one(number: int) -> None:
        answer = await client.infer(echo("INT64", np.array([[number]]), id=str(number)), CallContext())
        assert answer.output("y").array.item() == number
        assert answer.id == str(number)

    await asyncio.gather(*(one(number) for number in range(100)))


async def test_too_large_is_told_with_limit_and_setting(wired):
    """A message over the limit is TOO_LARGE; the text names the limit's setting."""
    wire, client, _ = wired
    if wire.kind == "process":
        return
    with pytest.raises(InferenceError, match="MAX_MESSAGE_BYTES") as caught:
        await client.infer(echo("UINT8", np.zeros((1, 5 << 20), "u1")), CallContext())
    assert caught.value.code is Code.TOO_LARGE
    assert (await client.infer(InferRequest("echo-FP32", [X]), CallContext())).output("y").count == 2


async def test_the_control_plane(wired):
    """Readiness, metadata, configuration, statistics and the index say the same over every wire."""
    _, client, _ = wired
    context = CallContext()
    assert await client.server_live(context)
    assert await client.server_ready(context)
    assert await client.model_ready("adding", "1", context)
    metadata = await client.model_metadata("adding", "", context)
    assert [(port.name, port.datatype, list(port.shape)) for port in metadata.inputs] == [
        ("a", "FP32", [-1]),
        ("b", "FP32", [1]),
    ]
    assert (await client.model_config("adding", "", context)).input[1].optional
    await client.infer(InferRequest("adding", [Tensor.from_array("a", np.array([1], "f4"))]), context)
    statistics = (await client.model_statistics("adding", "", context)).model_stats[0]
    assert statistics.inference_stats.success.count >= 1
    assert {model.state for model in (await client.repository_index(False, context)).models} == {"READY"}
    for call in (client.model_metadata("nope", "", context), client.model_ready("nope", "", context)):
        with pytest.raises(InferenceError) as caught:
            await call
        assert caught.value.code is Code.NOT_FOUND


async def test_repository_control_is_refused_when_fixed(wired):
    """Under MODEL_CONTROL=none load and unload are FAILED_PRECONDITION."""
    _, client, _ = wired
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceError, match="none") as caught:
            await call("adding", {}, CallContext())
        assert caught.value.code is Code.FAILED_PRECONDITION


async def test_the_stations_are_in_order(wired):
    """Asked for, the timeline holds the server's stations, each at or after the one before."""
    wire, client, _ = wired
    context = CallContext(timeline=Timeline())
    await client.infer(InferRequest("echo-FP32", [X]), context)
    order = ["started", "finished"]
    if wire.kind != "process":
        order = [
            "sent",
            *(f"server.{name}" for name in ("received", "decoded", "started", "finished", "encoded")),
            "answered",
            "read",
        ]
    stamps = [context.timeline.stamps[station] for station in order]
    assert stamps == sorted(stamps)


async def test_ensembles(wired):
    """A graph of models answers as one model does; a step's refusal says which step it was."""
    _, client, _ = wired
    answer = await client.infer(InferRequest("twice", [Tensor.from_array("in", np.ones(3, "f4"))]), CallContext())
    assert answer.output("out").array.tolist() == [21, 21, 21]
    with pytest.raises(InferenceError, match="unexpected shape") as caught:
        await client.infer(InferRequest("twice", [Tensor.from_array("in", np.ones((1, 3), "f4"))]), CallContext())
    assert caught.value.code is Code.INVALID_ARGUMENT


async def test_classification(wired):
    """The largest values with their index, on every wire."""
    _, client, _ = wired
    asked = RequestedOutput("y", {"classification": 2})
    tensor = Tensor.from_array("x", np.array([[1, 3, 2]], "f4"))
    answer = await client.infer(InferRequest("echo-FP32", [tensor], outputs=[asked]), CallContext())
    assert [text.decode() for text in answer.output("y").array.tolist()] == ["3.000000:1", "2.000000:2"]
