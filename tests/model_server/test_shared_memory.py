"""Regions of shared memory: what may be registered, what a request may name in them, and how it is counted."""

from __future__ import annotations

import gc
import os
import uuid

import numpy as np
import pytest

from crossover.endpoints.control_policy import ControlPolicy
from crossover.model_server.server import control_policy
from crossover.model_server.settings import ModelServerSettings
from crossover.model_server.shared_memory import FOLDER, MOST_REGIONS, SharedMemory
from crossover.protocol.codecs.shared_memory import OFFSET, REGION, SIZE
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, SharedTensors
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from tests.graphs import echo_graph, save
from tests.model_server.conftest import serving

Register = pb.SystemSharedMemoryRegisterRequest
X = np.arange(8, dtype=np.float32)


@pytest.fixture
def key():
    """A shared memory object of 64 bytes that holds `X`."""
    path = FOLDER / f"crossover-test-{uuid.uuid4().hex}"
    path.write_bytes(X.tobytes() + bytes(32))
    yield path.name
    path.unlink(missing_ok=True)


def at(region: str, offset: int, size: int):
    return {REGION: region, OFFSET: offset, SIZE: size}


def shared(inputs=None, outputs=None) -> InferRequest:
    x = Tensor("x", Tensor.from_array("x", X).datatype, (8,), raw=b"") if inputs else Tensor.from_array("x", X)
    return InferRequest("m", [x], shared=SharedTensors(inputs or {}, outputs or {}))


@pytest.mark.parametrize(
    "name", ["", "/", "..", "/..", ".", "a/b", "/etc/passwd", "../dev/null", "a\0b", "x" * 300, "absent"]
)
def test_a_key_is_the_name_of_an_object(name):
    """Nothing outside the folder of shared memory is opened."""
    with pytest.raises(InferenceError) as caught:
        SharedMemory(1 << 20).register(Register(name="r", key=name, byte_size=1))
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_only_regular_files_are_objects(key):
    """A link, a folder and a pipe are none; a pipe keeps nobody waiting."""
    memory = SharedMemory(1 << 20)
    made = [FOLDER / f"{key}-{kind}" for kind in ("link", "folder", "pipe")]
    made[0].symlink_to("/etc/passwd")
    made[1].mkdir()
    os.mkfifo(made[2])
    try:
        for path in made:
            with pytest.raises(InferenceError):
                memory.register(Register(name="r", key=path.name, byte_size=1))
    finally:
        made[0].unlink()
        made[1].rmdir()
        made[2].unlink()
    assert not memory.status("").regions


@pytest.mark.parametrize(("offset", "size"), [(0, 0), (0, 65), (64, 1), (60, 8), ((1 << 63) - 1, 1)])
def test_a_region_lies_in_its_object(key, offset, size):
    """It has bytes, and all of them are there."""
    with pytest.raises(InferenceError, match="has 64"):
        SharedMemory(1 << 20).register(Register(name="r", key=key, offset=offset, byte_size=size))


def test_regions_are_bounded_and_let_go_of_their_files(key):
    """So many at once; a refused, forgotten or replaced one holds no file descriptor."""
    memory = SharedMemory(1 << 20)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for number in range(MOST_REGIONS // 16):
        memory.register(Register(name=f"r{number}", key=f"/{key}", byte_size=64))
        with pytest.raises(InferenceError):
            memory.register(Register(name="long", key=key, byte_size=65))
    memory.unregister("r0")
    memory.unregister("r0")
    assert len(memory.status("").regions) == MOST_REGIONS // 16 - 1
    memory.unregister("")
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_inputs_and_outputs_in_a_region(tmp_path, key):
    """Read from it and written to it; failures are told, and counted once."""
    save(tmp_path, "m", echo_graph("FP32", ["n"]))
    async with serving(tmp_path) as engine:
        await engine.repository.load("m", {})
        engine.shared_memory.register(Register(name="r", key=key, byte_size=64))
        response = await engine.infer(shared({"x": at("r", 0, 32)}, {"y": at("r", 32, 32)}), CallContext())
        assert (FOLDER / key).read_bytes() == X.tobytes() * 2
        assert response.shared == {"y": {REGION: "r", OFFSET: 32, SIZE: 32}} and response.outputs[0].shape == (8,)
        assert engine.infer_now(shared({"x": at("r", 0, 32)}), CallContext()) is None
        wrong = [
            shared({"x": at("nobody", 0, 32)}), shared({"x": at("r", 40, 32)}), shared({"x": at("r", 0, 28)}),
            shared(outputs={"y": at("r", 0, 28)}), shared(outputs={"y": at("nobody", 0, 32)}),
        ]  # fmt: skip
        for request in wrong:
            with pytest.raises(InferenceError):
                await engine.infer(request, CallContext())
        statistics = engine.repository.resolve("m", "").statistics
        assert statistics.success.count == 1
        assert sum(reason.count for reason in statistics.failures.values()) == len(wrong)


async def test_inputs_are_bounded_like_messages(tmp_path, key):
    """Together they take as much as a message may."""
    memory = SharedMemory(63)
    memory.register(Register(name="r", key=key, byte_size=64))
    with pytest.raises(InferenceError, match="MAX_MESSAGE_BYTES") as caught:
        memory.places({"a": at("r", 0, 32), "b": at("r", 0, 32)}, "input")
    assert caught.value.code is Code.TOO_LARGE


@pytest.mark.parametrize(
    ("host", "setting", "allowed"),
    [("127.0.0.1", "auto", True), ("0.0.0.0", "auto", False), ("127.0.0.1", "0", False), ("0.0.0.0", "1", True),
     ("unix:/tmp/s", "auto", True), ("::1", "auto", True)],
)  # fmt: skip
def test_it_is_off_where_other_hosts_get_in(host, setting, allowed):
    """MODEL_SERVER_SHARED_MEMORY decides, and the sentence names it; a service without it answers UNIMPLEMENTED."""
    settings = ModelServerSettings(model_server_shared_memory=setting)
    policy = control_policy(settings, host, None)
    assert policy.shared_memory is allowed
    if not allowed:
        with pytest.raises(InferenceError, match="MODEL_SERVER_SHARED_MEMORY=1") as caught:
            policy.check_shared_memory()
        assert caught.value.code is Code.PERMISSION_DENIED
    with pytest.raises(InferenceError) as caught:
        ControlPolicy().check_shared_memory()
    assert caught.value.code is Code.UNIMPLEMENTED
