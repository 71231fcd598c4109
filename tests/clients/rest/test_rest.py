"""The REST clients give back what the service's inference gave, whatever it was."""

import numpy as np
import pytest

from crossover.protocol import deadline
from crossover.protocol.codecs.registry import NO_HALF_FLOATS
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline

X = Tensor.from_array("x", np.array([[1.5, -2]], np.float32))


def example(name: str, shape=(2, 3)) -> np.ndarray:
    """Values at the edges of a datatype."""
    row = DATATYPES[name]
    count = int(np.prod(shape))
    if row.kind == "bytes":
        values = np.empty(count, object)
        values[:] = [b"", "é\0\u20ac".encode(), b'"\\', b"\n", b"plain", b"x" * 1000][:count]
    elif row.kind == "bool":
        values = np.arange(count) % 2 == 0
    elif row.kind == "int":
        values = np.array([row.low, row.high, 0, 1, row.high - 1, row.low + 1][:count], row.dtype)
    else:
        values = np.array([np.nan, np.inf, -np.inf, 0.1, -0.0, 65504][:count], np.float64).astype(row.dtype)
    return values.reshape(shape)


@pytest.mark.parametrize("shape", [(2, 3), (0, 3), (2, 0), (1,), ()], ids=str)
@pytest.mark.parametrize("datatype", DATATYPES)
async def test_every_datatype_comes_back_as_it_went(client, datatype, shape):
    """Exact elements, shape and datatype; what JSON does not carry is refused with the name of a wire that does."""
    sent = Tensor.from_array("x", example(datatype, shape), DATATYPES[datatype])
    request = InferRequest("echo", [sent], id="7")
    if client._wire.name == "rest" and datatype not in NO_HALF_FLOATS:
        with pytest.raises(InferenceError, match="rest-binary") as caught:
            await client.infer(request, CallContext())
        assert caught.value.code is Code.NOT_CARRIED
        return
    response = await client.infer(request, CallContext())
    assert (response.model_name, response.model_version, response.id) == ("echo", "7", "7")
    received = response.output("x")
    assert (received.datatype.name, received.shape) == (datatype, shape)
    if datatype == "BYTES":
        assert received.array.tolist() == sent.array.tolist()
    else:
        np.testing.assert_array_equal(received.array.astype("f8"), sent.array.astype("f8"))


async def test_bytes_that_are_no_text_need_the_binary_wire(service, connect):
    """Over `rest`, BYTES must be UTF-8; `rest-binary` carries any."""
    request = InferRequest("echo", [Tensor.from_array("x", np.array([b"\xff"], object))])
    with pytest.raises(InferenceError, match="rest-binary") as caught:
        await connect(service.url, "rest").infer(request, CallContext())
    assert caught.value.code is Code.NOT_CARRIED
    response = await connect(service.url, "rest-binary").infer(request, CallContext())
    assert response.output("x").array.tolist() == [b"\xff"]


async def test_an_output_that_the_wire_does_not_carry_names_the_other_wire(service, connect):
    """A model whose output is FP16 answers over `rest` with NOT_CARRIED, and over `rest-binary` with numbers."""
    service.inference.outputs = [Tensor.from_array("y", np.array([1], np.float16))]
    with pytest.raises(InferenceError, match="rest-binary") as caught:
        await connect(service.url, "rest").infer(InferRequest("echo", [X]), CallContext())
    assert caught.value.code is Code.NOT_CARRIED
    response = await connect(service.url, "rest-binary").infer(InferRequest("echo", [X]), CallContext())
    assert response.output("y").array.tolist() == [1.0]


async def test_large_tensors_in_both_directions(client):
    """Messages that are written and read in many pieces arrive whole."""
    big = Tensor.from_array("x", np.arange(400_000, dtype=np.float32).reshape(400, 1000))
    response = await client.infer(InferRequest("echo", [big]), CallContext())
    np.testing.assert_array_equal(response.output("x").array, big.array)


async def test_the_whole_request_arrives(service, client):
    """Name, version, id, parameters and requested outputs are what the service's inference sees."""
    sent = InferRequest(
        "odd name/ü:1", [X, Tensor.from_array("k", np.array([2**63 - 1]))], "3", "id-1",
        [RequestedOutput("k"), RequestedOutput("x")], {"priority": 2**63, "text": "ü", "flag": True, "f": 1.5},
    )  # fmt: skip
    await client.infer(sent, CallContext(headers={"traceparent": "00-1", "x-request-id": "evil\r\nx: y"}))
    seen, context = service.inference.requests[0], service.inference.contexts[0]
    assert (seen.model_name, seen.model_version, seen.id) == ("odd name/ü:1", "3", "id-1")
    assert [output.name for output in seen.outputs] == ["k", "x"]
    assert seen.parameters == sent.parameters
    assert context.headers == {"traceparent": "00-1"}


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
async def test_every_error_is_the_same_at_both_ends(client, code):
    """Code and text of an InferenceError survive endpoint and client unchanged."""
    with pytest.raises(InferenceError) as caught:
        await client.infer(InferRequest(f"fail-{code.name}", [X]), CallContext())
    assert caught.value.code is code
    text = f"it was fail-{code.name}, said 'ü' \"quoted\"\nover two lines"
    assert caught.value.message.removesuffix(" (upstream 'rest-binary' carries it)") == text


async def test_bytes_and_stamps_are_filled_in(client):
    """The context holds message sizes, and the stations of both sides in their order, when they were asked for."""
    context = CallContext(timeline=Timeline())
    await client.infer(InferRequest("echo", [X]), context)
    assert context.bytes_sent > 8
    assert context.bytes_received > 8
    assert list(context.timeline.stamps) == [
        "sent", "answered", "server.received", "server.decoded", "server.started", "server.finished", "server.encoded",
        "read",
    ]  # fmt: skip
    order = [
        "sent",
        "server.received",
        "server.decoded",
        "server.started",
        "server.finished",
        "server.encoded",
        "answered",
    ]
    stamps = [context.timeline.stamps[station] for station in order]
    assert stamps == sorted(stamps)


async def test_the_deadline_travels_and_is_kept(service, client):
    """The service gets what is left; a call that hangs ends here at the deadline."""
    await client.infer(InferRequest("echo", [X]), CallContext(deadline.after(30)))
    assert 20 < deadline.remaining(service.inference.contexts[0].deadline) <= 30
    with pytest.raises(InferenceError) as caught:
        await client.infer(InferRequest("hang", [X]), CallContext(deadline.after(0.05)))
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    with pytest.raises(InferenceError) as caught:
        await client.infer(InferRequest("echo", [X]), CallContext(deadline.after(-1)))
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert len(service.inference.requests) <= 2


async def test_the_control_plane(service, client):
    """Health, metadata, configuration, statistics and repository give the service's own messages back."""
    fake, context = service.inference, CallContext()
    assert await client.server_live(context)
    assert await client.server_ready(context)
    assert await client.model_ready("echo", "", context)
    assert await client.server_metadata(context) == await fake.server_metadata(context)
    assert await client.model_metadata("two", "3", context) == await fake.model_metadata("two", "3", context)
    assert await client.model_config("echo", "", context) == await fake.model_config("echo", "", context)
    assert (await client.model_statistics("", "", context)).model_stats[0].inference_count == 2**53 + 1
    assert [item.name for item in (await client.model_statistics("echo", "", context)).model_stats] == ["echo"]
    for ready in (True, False):
        assert await client.repository_index(ready, context) == await fake.repository_index(ready, context)
    await client.load_model("odd/name", {"config": "{}", "file:1/model.onnx": b"\0\xff"}, context)
    await client.unload_model("m", {"unload_dependents": True}, context)
    assert fake.loads == [
        ("odd/name", {"config": "{}", "file:1/model.onnx": b"\0\xff"}),
        ("m", {"unload_dependents": True}),
    ]


async def test_what_is_not_ready_is_false_and_what_is_unknown_an_error(service, client):
    """503 of a readiness route is an answer; 404 is NOT_FOUND."""
    service.inference.ready = False
    assert await client.server_ready(CallContext()) is False
    assert await client.model_ready("echo", "", CallContext()) is False
    with pytest.raises(InferenceError) as caught:
        await client.model_ready("none", "", CallContext())
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(("name", "version"), [("", ""), ("echo", "x"), ("echo", "-1"), ("echo", "1/../2")])
async def test_names_and_versions_that_no_path_can_hold_are_refused_here(client, name, version):
    """An empty name or a version that is no number is INVALID_ARGUMENT before anything is sent."""
    with pytest.raises(InferenceError) as caught:
        await client.model_metadata(name, version, CallContext())
    assert caught.value.code is Code.INVALID_ARGUMENT
