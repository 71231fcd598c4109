"""Isolated runs: what ends a worker process ends only the calls in it; neighbours, health and the next call never notice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from onnx import TensorProto, helper

from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.repository import Repository
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.stack.services import Stack
from tests.graphs import echo_graph, save

value = helper.make_tensor_value_info
ONE = np.ones(1, "i4")


def dividing_graph():
    """y = x / d of INT32: -2147483648 / -1 is SIGFPE on x86."""
    return helper.make_graph(
        [helper.make_node("Div", ["x", "d"], ["y"])],
        "dividing",
        [value("x", TensorProto.INT32, ["n"]), value("d", TensorProto.INT32, ["n"])],
        [value("y", TensorProto.INT32, ["n"])],
    )


def filling_graph():
    """y = the sum of `size` ones, all of which are made first."""
    return helper.make_graph(
        [
            helper.make_node(
                "ConstantOfShape", ["size"], ["ones"], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1])
            ),
            helper.make_node("ReduceSum", ["ones"], ["y"], keepdims=0),
        ],
        "filling",
        [value("size", TensorProto.INT64, [1])],
        [value("y", TensorProto.FLOAT, [])],
    )


def endless_graph():
    return helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"])],
        "endless",
        [value("x", TensorProto.FLOAT, [1, 1, "n"]), value("kernel", TensorProto.FLOAT, [1, 1, "k"])],
        [value("y", TensorProto.FLOAT, None)],
    )


async def opened(path: Path, workers: int = 2, memory: int = 0, *, isolated: bool = True) -> Engine:
    options = RuntimeOptions(isolated=isolated, memory=memory)
    engine = Engine(Repository(path, "none", options=options), Executor(workers))
    await engine.repository.start()
    return engine


async def asked(engine: Engine, model: str, seconds: float = 30.0, **inputs: np.ndarray) -> np.ndarray:
    tensors = [Tensor.from_array(name, array) for name, array in inputs.items()]
    answer = await engine.infer(InferRequest(model, tensors), CallContext(time.monotonic() + seconds))
    return answer.outputs[0].array


async def refused(engine: Engine, model: str, seconds: float = 30.0, **inputs: np.ndarray) -> InferenceError:
    with pytest.raises(InferenceError) as caught:
        await asked(engine, model, seconds, **inputs)
    return caught.value


def workers_of(engine: Engine, model: str) -> list:
    return engine.repository.resolve(model, "").session._workers.free


@pytest.mark.parametrize("kind", DATATYPES)
async def test_every_datatype_comes_back_as_it_went(tmp_path, kind):
    """Tensors of every datatype, empty ones and scalars' neighbours, are bit for bit what they are without isolation."""
    save(tmp_path, "m", echo_graph(kind))
    row = DATATYPES[kind]
    rng = np.random.default_rng(1)
    if row.kind == "bytes":
        arrays = [np.array([[b"", "ü".encode(), b"x" * 1000]], dtype=object), np.empty((0, 2), dtype=object)]
    else:
        arrays = [rng.integers(0, 2, shape).astype(row.dtype) for shape in ((3, 2), (0, 5), (1, 1), (257, 129))]
    engine, plain = await opened(tmp_path), await opened(tmp_path, isolated=False)
    for array in arrays:
        tensor = Tensor("x", row, array.shape, array=array)
        made, expected = [
            (await one.infer(InferRequest("m", [tensor]), CallContext())).outputs[0] for one in (engine, plain)
        ]
        assert (made.shape, made.datatype, bytes(made.raw)) == (expected.shape, expected.datatype, bytes(expected.raw))
    await engine.close()
    await plain.close()


async def test_a_crash_ends_its_own_calls_only(tmp_path):
    """SIGFPE: its caller is told 503 with the reason and not to try again; neighbours and the next call are answered."""
    save(tmp_path, "dividing", dividing_graph())
    save(tmp_path, "plain", echo_graph("FP32", ["n"]))
    engine = await opened(tmp_path)
    assert (await asked(engine, "dividing", x=6 * ONE, d=2 * ONE)).tolist() == [3]
    done = asyncio.Event()

    async def neighbour() -> int:
        count = 0
        while not done.is_set():
            await asked(engine, "plain", x=np.ones(4, "f4"))
            count += 1
        return count

    beside = asyncio.create_task(neighbour())
    for _ in range(3):
        error = await refused(engine, "dividing", x=np.array([-(2**31)], "i4"), d=-ONE)
        assert error.code is Code.WORKER_LOST
        assert "SIGFPE" in error.message
        assert not error.code.status.retryable
        assert await engine.server_ready(CallContext())
        assert (await asked(engine, "dividing", x=6 * ONE, d=2 * ONE)).tolist() == [3]
    done.set()
    assert await beside > 10
    shown = (await engine.model_statistics("dividing", "", CallContext())).model_stats[0]
    assert (shown.inference_stats.success.count, shown.inference_stats.fail.count) == (4, 3)
    await engine.close()


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
async def test_a_worker_that_ends_between_runs_costs_no_call(tmp_path, number):
    """It is seen before a run is given to it, and replaced."""
    save(tmp_path, "m", echo_graph("FP32", ["n"]))
    engine = await opened(tmp_path)
    await asked(engine, "m", x=np.ones(1, "f4"))
    pid = workers_of(engine, "m")[0].pid
    os.kill(pid, number)
    while Path(f"/proc/{pid}").exists():
        await asyncio.sleep(0.01)
    error = None
    try:
        await asked(engine, "m", x=np.ones(1, "f4"))
    except InferenceError as caught:
        error = caught
    assert error is None or error.code is Code.UNAVAILABLE, "a call that was not begun may be tried again"
    assert (await asked(engine, "m", x=np.ones(1, "f4"))).tolist() == [1]
    await engine.close()


async def test_memory_is_bounded(tmp_path):
    """A run that takes more than MODEL_MEMORY_BYTES ends with the worker and a reason; smaller ones are answered."""
    save(tmp_path, "filling", filling_graph())
    engine = await opened(tmp_path, memory=100 << 20)
    assert await asked(engine, "filling", size=np.array([1000])) == 1000
    for _ in range(2):
        error = await refused(engine, "filling", size=np.array([200_000_000]))
        assert error.code is Code.WORKER_LOST
        assert "MODEL_MEMORY_BYTES" in error.message
        assert await asked(engine, "filling", size=np.array([1000])) == 1000
    await engine.close()


async def test_loading_is_bounded(tmp_path):
    """A model whose loading alone takes too much is UNAVAILABLE with the reason, and the server serves the others."""
    graph = helper.make_graph(  # ONNX Runtime computes what depends on nothing when it loads
        [*filling_graph().node, helper.make_node("Add", ["x", "y"], ["z"])],
        "greedy",
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("z", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor("size", TensorProto.INT64, [1], [200_000_000])],
    )
    save(tmp_path, "greedy", graph)
    save(tmp_path, "m", echo_graph("FP32", ["n"]))
    engine = await opened(tmp_path, memory=100 << 20)
    index = await engine.repository_index(False, CallContext())
    reasons = {model.name: model.reason for model in index.models}
    assert "MODEL_MEMORY_BYTES" in reasons["greedy"]
    assert (await asked(engine, "m", x=np.ones(1, "f4"))).tolist() == [1]
    await engine.close()


async def test_a_run_that_never_ends_costs_its_worker(tmp_path):
    """The process is ended soon after the deadline, so that nothing is held; the model answers again."""
    save(tmp_path, "endless", endless_graph())
    engine = await opened(tmp_path, workers=1)
    x = np.ones((1, 1, 8), "f4")
    error = await refused(engine, "endless", 0.3, x=x, kernel=np.ones((1, 1, 0), "f4"))
    assert error.code is Code.DEADLINE_EXCEEDED
    while engine.executor.pending:
        await asyncio.sleep(0.02)
    assert engine.executor.held == 0
    assert (await asked(engine, "endless", x=x, kernel=np.ones((1, 1, 1), "f4"))).shape == (1, 1, 8)
    await engine.close()


async def test_nothing_is_left_behind(tmp_path):
    """After unloading, no worker process and no file of the model is left."""
    save(tmp_path, "m", echo_graph("FP32", ["n"]))
    engine = Engine(Repository(tmp_path, "explicit", options=RuntimeOptions(isolated=True)), Executor(2))
    await engine.repository.start()
    await engine.load_model("m", {}, CallContext())
    await asked(engine, "m", x=np.ones(1, "f4"))
    session = engine.repository.resolve("m", "").session
    pid, files = session._workers.free[0].pid, session._workers._files
    folder = files._exit_callbacks[0][1].__self__.gen.gi_frame.f_locals["folder"]
    assert Path(folder).exists()
    del session, files
    await engine.unload_model("m", {}, CallContext())
    while Path(f"/proc/{pid}").exists():
        await asyncio.sleep(0.02)
    assert not Path(folder).exists()
    await engine.close()


def _descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            child = int(stat.parent.name)
            found |= {child, *_descendants(child)}
    return found


@pytest.mark.parametrize("wire", ["grpc", "inprocess"])
def test_kill_leaves_no_process_and_the_next_start_no_file(tmp_path, wire, root):
    """SIGKILL of the server ends its workers at once; copies of model files go when the next server starts."""
    environment = {
        "MODEL_REPOSITORY": str(root / "models"), "MODEL_ISOLATION": "process", "GATEWAY_UPSTREAM": wire,
        "TMPDIR": str(tmp_path), "DATA_DIR": str(tmp_path / "data"),
    }  # fmt: skip
    stack = Stack(environment)
    try:
        stack.await_ready()
        upstream = stack.gateway if wire == "inprocess" else stack.model_server
        with urlopen(f"{stack.gateway_url}/v2/models/identity") as reply:
            assert reply.status == 200
        processes = _descendants(upstream._process.pid)
        assert len(processes) >= 2, "the nursery and a worker"
        if wire == "inprocess":
            stack.model_server.stop()
        copies = set(tmp_path.glob("crossover-load-*"))
        assert copies
        upstream.kill()
        while any(Path(f"/proc/{pid}").exists() for pid in processes):
            time.sleep(0.05)
        again = stack.start_gateway() if wire == "inprocess" else stack.start_model_server()
        again.await_ready()
        with urlopen(f"{stack.gateway_url}/v2/models/identity"):
            pass
        assert not any(copy.exists() for copy in copies)
        assert again.stop() == 0
    finally:
        stack.stop()


async def test_requests_that_wait_bring_more_workers(tmp_path, root):
    """As many runs at once as MODEL_WORKERS says: a second process is started when requests wait for the first."""
    (tmp_path / "work").symlink_to(root / "models" / "work")
    engine = await opened(tmp_path, workers=2)
    x = np.ones((1, 16), "f4")
    while engine.repository.resolve("work", "").session.live < 2:
        await asyncio.gather(*(asked(engine, "work", x=x, turns=np.array([300])) for _ in range(4)))
    assert engine.repository.resolve("work", "").session.live == 2
    await engine.close()


async def test_config_chooses_isolation_for_one_model(tmp_path):
    """`parameters` of config.pbtxt: MODEL_ISOLATION and MODEL_MEMORY_BYTES; anything else is refused with the reason."""
    text = 'parameters {{ key: "MODEL_ISOLATION" value: {{ string_value: "{}" }} }}'
    for name, chosen in (("alone", "process"), ("within", "none"), ("odd", "thread")):
        save(tmp_path, name, echo_graph("FP32", ["n"]))
        (tmp_path / name / "config.pbtxt").write_text(text.format(chosen))
    engine = await opened(tmp_path, isolated=False)
    assert engine.repository.resolve("alone", "").queue.isolated is not None
    assert engine.repository.resolve("within", "").queue.isolated is None
    reasons = {model.name: model.reason for model in (await engine.repository_index(False, CallContext())).models}
    assert "it takes none or process" in reasons["odd"]
    assert (await asked(engine, "alone", x=np.ones(1, "f4"))).tolist() == [1]
    await engine.close()
