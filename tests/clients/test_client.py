"""The client that applications use: arrays in, arrays out, waiting or not, the same over every wire."""

from __future__ import annotations

import asyncio
import signal
import threading

import numpy as np
import pytest

from crossover.clients import connect, connect_sync
from crossover.clients.client import ModelInfo, TensorInfo, tensor_as_declared
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import WIRES
from crossover.stack.services import free_ports

SLOW = {"x": np.full((1, 16), 0.5, np.float32), "turns": np.array([4_000_000])}
"""Most of a minute of computation."""


@pytest.mark.parametrize("wire", WIRES)
async def test_the_same_call_over_every_wire(where, sample, wire):
    """One spelling of wire and call; the answer is a mapping of arrays and knows its time and sizes."""
    pixels, label = sample
    async with connect(wire, **where) as client:
        answer = await client.infer("digits", {"x": pixels}, timeout=10, request_id="seven")
    assert list(answer) == ["probabilities"]
    assert answer["probabilities"].shape == (1, 10)
    assert answer["probabilities"].argmax() == label
    assert (answer.model, answer.version, answer.id) == ("digits", "1", "seven")
    assert answer.seconds > 0
    assert (answer.bytes_sent > 0) == (answer.bytes_received > 0) == (WIRES[wire].kind != "process")
    with pytest.raises(KeyError):
        answer["nothing"]


@pytest.mark.parametrize("wire", WIRES)
def test_the_synchronous_face_does_the_same(where, sample, wire):
    """For scripts without an event loop."""
    pixels, label = sample
    with connect_sync(wire, **where) as client:
        assert client.infer("digits", {"x": pixels}, timeout=10)["probabilities"].argmax() == label
        assert client.live()
        assert client.ready()
        assert client.ready("digits")
        assert client.metadata("digits").inputs[0].shape == (-1, 64)
        assert {model.name for model in client.models(ready=True)} == {"digits", "identity", "sized", "work"}


@pytest.mark.parametrize("wire", [name for name, wire in WIRES.items() if wire.kind != "process"])
async def test_not_waiting(where, wire):
    """`submit` returns at once; what was begun first need not be answered first."""
    async with connect(wire, **where) as client:
        slow = client.submit("work", SLOW)
        await asyncio.sleep(0.05)
        quick = await client.infer("identity", {"x": [[1.0, 2.0]]})
        assert quick["y"].tolist() == [[1.0, 2.0]]
        assert not slow.done()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (await client.infer("identity", {"x": [[3.0]]}))["y"].tolist() == [[3.0]]


@pytest.mark.parametrize("wire", ["grpc", "rest"])
def test_not_waiting_without_an_event_loop(where, wire):
    """The synchronous `submit` gives a future with `result` and `cancel`."""
    with connect_sync(wire, **where) as client:
        slow = client.submit("work", SLOW)
        answers = [client.submit("identity", {"x": [[float(number)]]}) for number in range(20)]
        assert [future.result(20)["y"].item() for future in answers] == list(range(20))
        assert not slow.done()
        assert slow.cancel()


@pytest.mark.parametrize("wire", ["grpc", "rest"])
def test_a_client_may_be_shared_by_threads(where, wire):
    """Every thread gets its own answers."""
    found: dict[int, float] = {}

    def ask(client, number):
        found[number] = client.infer("identity", {"x": [[float(number)]]}, timeout=20)["y"].item()

    with connect_sync(wire, **where) as client:
        threads = [threading.Thread(target=ask, args=(client, number)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert found == {number: float(number) for number in range(16)}


@pytest.mark.parametrize("wire", [name for name, wire in WIRES.items() if wire.kind != "process"])
async def test_errors_have_codes(where, wire):
    """One exception, the same codes over every wire; the client goes on working."""
    async with connect(wire, **where) as client:
        for call, code in (
            (client.infer("nope", {"x": np.zeros((1, 1), np.float32)}), Code.NOT_FOUND),
            (client.infer("digits", {"x": np.zeros((1, 3), np.float32)}), Code.INVALID_ARGUMENT),
            (client.infer("digits", {"x": np.zeros((1, 64))}), Code.INVALID_ARGUMENT),
            (client.infer("work", SLOW, timeout=0.05), Code.DEADLINE_EXCEEDED),
            (client.metadata("nope"), Code.NOT_FOUND),
        ):
            with pytest.raises(InferenceError) as caught:
                await call
            assert caught.value.code is code
        assert await client.ready("digits")


@pytest.mark.parametrize("wire", [name for name, wire in WIRES.items() if wire.kind != "process"])
async def test_a_service_that_is_not_there(wire):
    """A call is UNAVAILABLE at once; asked for its readiness, the answer is no."""
    rest, grpc = free_ports(2)
    async with connect(wire, grpc=f"127.0.0.1:{grpc}", rest=f"http://127.0.0.1:{rest}", timeout=10) as client:
        with pytest.raises(InferenceError) as caught:
            await client.infer("identity", {"x": np.zeros((1, 1), np.float32)})
        assert caught.value.code is Code.UNAVAILABLE
        assert not await client.ready()
        assert not await client.live()


async def test_the_clients_own_timeout_is_for_calls_without_one(where):
    """`connect(timeout=...)` is a default that a call overrides."""
    async with connect("grpc", timeout=0.05, **where) as client:
        with pytest.raises(InferenceError) as caught:
            await client.infer("work", SLOW)
        assert caught.value.code is Code.DEADLINE_EXCEEDED
        assert (await client.infer("identity", {"x": [[1.0]]}, timeout=10))["y"].item() == 1.0


async def test_lists_get_the_datatype_that_the_model_declares(where):
    """Numbers in lists have no datatype of their own; arrays and tensors keep theirs."""
    async with connect("grpc", **where) as client:
        answer = await client.infer("sized", {"x": [1, 2, 3], "size": [2]}, outputs=["y"])
        assert answer["y"].tolist() == [1, 2]
        assert answer.tensors[0].datatype.name == "UINT8"
        given = {"x": Tensor.from_array("x", np.array([250, 7], np.uint8)), "size": np.array([1])}
        assert (await client.infer("sized", given))["y"].tolist() == [250]
        for wrong in ([1, 2, 300], [[1], [2, 3]], ["a"]):
            with pytest.raises(InferenceError, match="input 'x' takes UINT8 values in lists of equal length"):
                await client.infer("sized", {"x": wrong, "size": [1]})
        with pytest.raises(InferenceError, match="has no input 'z'; it has x, size"):
            await client.infer("sized", {"z": [1]})


async def test_text_in_lists_is_bytes():
    """str becomes UTF-8 BYTES, which is what models with text inputs declare."""
    model = ModelInfo("m", ("1",), "", (TensorInfo("t", "BYTES", (-1,)),), ())
    tensor = tensor_as_declared(model, "t", ["가", b"\xff"])
    assert tensor.array.tolist() == ["가".encode(), b"\xff"]


def test_an_unknown_wire_is_refused_when_it_is_named():
    """Not only at the first call."""
    for make in (connect, connect_sync):
        with pytest.raises(InferenceError, match="'soap' is not a wire; choose one of grpc, "):
            make("soap")


@pytest.fixture
def hears_ctrl_c():
    """Python's own handler, also where the tests were started in the background, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_interrupting_a_waiting_script_gives_the_call_up(where):
    """An exception in the waiting thread, such as Ctrl-C, cancels the call instead of leaving it running."""
    with connect_sync("grpc", **where) as client:
        waiting = threading.get_ident()
        threading.Timer(0.3, lambda: signal.pthread_kill(waiting, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            client.infer("work", SLOW)
        assert client.infer("identity", {"x": [[1.0]]}, timeout=20)["y"].item() == 1.0


def test_addresses_are_those_of_the_command_line(monkeypatch):
    """Without an address `connect` goes where the settings of the model server say; an address that is given counts."""
    monkeypatch.setenv("MODEL_SERVER_HOST", "::1")
    monkeypatch.setenv("MODEL_SERVER_GRPC_PORT", "9001")
    monkeypatch.delenv("MODEL_SERVER_HTTP_PORT", raising=False)
    target = connect("grpc", rest="http://10.0.0.1:80").target
    assert (target.grpc, target.rest) == ("[::1]:9001", "http://10.0.0.1:80")
    assert connect("rest").target.rest == "http://[::1]:8000"
