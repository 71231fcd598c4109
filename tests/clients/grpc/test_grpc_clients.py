"""The gRPC clients against a real port: unary with raw and typed contents, and many calls on one stream."""

from __future__ import annotations

import asyncio
import time

import grpc
import ml_dtypes
import numpy as np
import pytest
from grpc import aio

from crossover.clients import grpc_stream, grpc_unary
from crossover.endpoints.grpc.serve import GrpcListener
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, InferResponse, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline
from crossover.protocol.wires import Target
from crossover.protos import inference as pb
from crossover.transport.tls import Tls
from tests.fakes import FailingInference, RecordingInference, SlowInference
from tests.grpc_service import LIMIT, listening, make_certificate, request

CONNECTS = {
    "grpc": grpc_unary.connect, "grpc-typed": grpc_unary.connect_typed,
    "grpc-lean": grpc_unary.connect_lean, "grpc-stream": grpc_stream.connect,
}  # fmt: skip


@pytest.fixture(params=CONNECTS)
def wire(request):
    return request.param


@pytest.fixture
async def connect(wire):
    """connect(target) gives a client of the wire; all are closed at the end."""
    made = []

    def new(target: Target):
        made.append(CONNECTS[wire](target))
        return made[-1]

    yield new
    for client in made:
        await client.close()


async def failed(call) -> InferenceError:
    with pytest.raises(InferenceError) as caught:
        await call
    return caught.value


async def test_requests_arrive_as_they_were_made(connect):
    """Names, versions, ids, outputs and parameters of all five kinds reach the Inference; its answer comes back."""
    fake = RecordingInference()
    parameters = {"b": True, "i": -(2**63), "u": 2**64 - 1, "d": 0.5, "s": "ä"}
    sent = request("id ü", model_version="1", outputs=[RequestedOutput("x", {"p": 1})], parameters=parameters)
    async with listening(fake) as target:
        answer = await connect(target).infer(sent, CallContext())
    (got,) = fake.requests
    assert (got.model_name, got.model_version, got.outputs, got.parameters) == ("echo", "1", sent.outputs, parameters)
    assert (answer.model_name, answer.model_version, answer.id, answer.parameters) == ("echo", "1", "id ü", {})
    np.testing.assert_array_equal(answer.output("x").array, sent.inputs[0].array)
    assert sent.parameters == parameters


@pytest.mark.parametrize("name", DATATYPES)
async def test_every_datatype(connect, wire, name):
    """Every datatype comes back bit for bit, or is NOT_CARRIED naming a wire that can."""
    row = DATATYPES[name]
    values = {"int": [row.low, row.high], "bool": [True, False], "bytes": [b"", b"\0\xff"], "float": [1.5, -0.0]}
    dtype = ml_dtypes.bfloat16 if name == "BF16" else row.dtype
    tensor = Tensor.from_array("x", np.array(values[row.kind], dtype).reshape(1, 2), row)
    async with listening(RecordingInference()) as target:
        client = connect(target)
        if wire == "grpc-typed" and row.contents is None:
            error = await failed(client.infer(InferRequest("echo", [tensor]), CallContext()))
            assert (error.code, "'grpc'" in error.message) == (Code.NOT_CARRIED, True)
            return
        answer = await client.infer(InferRequest("echo", [tensor]), CallContext())
        assert bytes(answer.output("x").raw) == bytes(tensor.raw)
        assert answer.output("x").shape == (1, 2)


async def test_a_typed_client_is_told_what_outputs_it_cannot_have():
    """An FP16 output over typed contents is NOT_CARRIED and names a wire that can."""

    class Halves(RecordingInference):
        async def infer(self, asked, context):
            return InferResponse("echo", "1", [Tensor.from_array("y", np.zeros(2, "f2"))])

    async with listening(Halves()) as target:
        client = grpc_unary.connect_typed(target)
        error = await failed(client.infer(request(), CallContext()))
        assert (error.code, "'grpc'" in error.message) == (Code.NOT_CARRIED, True)
        await client.close()


@pytest.mark.parametrize("code", Code)
async def test_every_code_comes_back_unchanged(connect, code):
    """What the service means is what the caller gets, with its sentence, from every call; the next call works."""
    fake = FailingInference(code)
    async with listening(fake) as target:
        client = connect(target)
        for call in (client.infer(request(), CallContext()), client.model_config("echo", "", CallContext())):
            error = await failed(call)
            assert (error.code, error.message) == (code, f"because of {code.name}, ä")
        fake.failing = False
        assert (await client.infer(request("7"), CallContext())).id == "7"


async def test_the_control_plane(connect):
    """Every control call has its answer, over unary calls whatever the wire."""
    fake, context = RecordingInference(), CallContext()
    async with listening(fake) as target:
        client = connect(target)
        assert await client.server_live(context)
        assert await client.server_ready(context)
        assert await client.model_ready("echo", "1", context)
        assert (await client.server_metadata(context)).extensions == ["model_repository"]
        assert (await client.model_metadata("echo", "", context)).versions == ["1"]
        assert (await client.model_config("echo", "", context)).max_batch_size == 4
        assert (await client.model_statistics("", "", context)).model_stats[0].inference_count == 2**40
        assert (await client.repository_index(True, context)).models[0].name == "echo"
        await client.load_model("echo", {"config": "{}", "file:1/model.onnx": b"\0"}, context)
        await client.unload_model("echo", {"unload_dependents": False}, context)
        assert fake.controls == [
            ("index", True),
            ("load", "echo", {"config": "{}", "file:1/model.onnx": b"\0"}),
            ("unload", "echo", {"unload_dependents": False}),
        ]
        fake.ready = False
        assert await client.model_ready("echo", "", context) is False
        assert (await failed(client.model_ready("nope", "", context))).code is Code.NOT_FOUND


async def test_deadlines_travel(connect):
    """The service keeps the caller's deadline too, and its work ends."""
    slow = SlowInference()
    async with listening(slow) as target:
        client = connect(target)
        error = await failed(client.infer(request(), CallContext(time.monotonic() + 0.3)))
        assert error.code is Code.DEADLINE_EXCEEDED
        await slow.cancelled.acquire()
        slow.release.set()
        await client.infer(request(), CallContext(time.monotonic() + 60))
        assert slow.inner.contexts[-1].deadline <= time.monotonic() + 61


async def test_a_passed_deadline_sends_nothing(connect):
    """Work whose time is over is not sent."""
    fake = RecordingInference()
    async with listening(fake) as target:
        error = await failed(connect(target).infer(request(), CallContext(time.monotonic() - 1)))
    assert error.code is Code.DEADLINE_EXCEEDED
    assert fake.requests == []


async def test_cancelling_travels(connect):
    """A caller that goes away ends its work and nobody else's."""
    slow = SlowInference()
    async with listening(slow) as target:
        client = connect(target)
        gone, stays = (asyncio.create_task(client.infer(request(name), CallContext())) for name in ("gone", "stays"))
        for _ in range(2):
            await slow.started.acquire()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await slow.cancelled.acquire()
        slow.release.set()
        assert (await stays).id == "stays"


async def test_bytes_headers_and_stations(connect):
    """The context is told the bytes sent and received and the stations of both sides; its headers arrive."""
    fake = RecordingInference()
    async with listening(fake) as target:
        context = CallContext(timeline=Timeline(), headers={"traceparent": "00-a-b-01"})
        await connect(target).infer(request(), context)
    assert context.bytes_sent > 12
    assert context.bytes_received > 12
    assert fake.contexts[0].headers == {"traceparent": "00-a-b-01"}
    order = [
        "sent", "server.received", "server.decoded", "server.started", "server.finished", "server.encoded",
        "answered", "read",
    ]  # fmt: skip
    assert set(context.timeline.stamps) == set(order)
    stamps = [context.timeline.stamps[station] for station in order]
    assert stamps == sorted(stamps)


async def test_many_at_once_find_their_answers(connect):
    """A hundred calls under the same id each get their own answer."""
    async with listening(RecordingInference()) as target:
        client = connect(target)

        async def one(number: int) -> None:
            sent = InferRequest("echo", [Tensor.from_array("x", np.array([number]))], id="same")
            answer = await client.infer(sent, CallContext())
            assert (answer.id, answer.output("x").array.item()) == ("same", number)

        await asyncio.gather(*(one(number) for number in range(100)))


async def test_oversize_is_told_either_way(connect):
    """A request or reply over the limit is TOO_LARGE and names the setting; the next call works."""

    class Large(RecordingInference):
        async def infer(self, asked, context):
            if "large" not in asked.parameters:
                return await super().infer(asked, context)
            return InferResponse("echo", "1", [Tensor.from_array("y", np.zeros(2 * LIMIT, "u1"))], asked.id)

    async with listening(Large()) as target:
        client = connect(target)
        too_large = InferRequest("echo", [Tensor.from_array("x", np.zeros(LIMIT, "u1"))])
        for asked in (too_large, request(parameters={"large": True})):
            error = await failed(client.infer(asked, CallContext()))
            assert (error.code, "MAX_MESSAGE_BYTES" in error.message) == (Code.TOO_LARGE, True)
        await client.infer(request(), CallContext())


async def test_a_service_that_goes_away_and_comes_back(connect):
    """What was under way and what is sent meanwhile is UNAVAILABLE; the same client finds the service again."""
    slow = SlowInference()
    listener = GrpcListener(slow, "127.0.0.1", 0)
    await listener.start()
    client = connect(Target(grpc=f"127.0.0.1:{listener.port}"))
    under_way = [asyncio.create_task(client.infer(request(), CallContext())) for _ in range(2)]
    for _ in under_way:
        await slow.started.acquire()
    await listener.stop(0)
    errors = [await failed(call) for call in (*under_way, client.infer(request(), CallContext()))]
    assert {error.code for error in errors} == {Code.UNAVAILABLE}
    assert all(f"127.0.0.1:{listener.port}" in error.message for error in errors)
    again = GrpcListener(RecordingInference(), "127.0.0.1", listener.port)
    await again.start()
    while True:
        try:
            await client.infer(request(), CallContext())
            break
        except InferenceError as error:
            assert error.code is Code.UNAVAILABLE
            await asyncio.sleep(0.05)
    await again.stop(0)


async def test_nobody_there_is_told_at_once(connect, free_port):
    """A refused connection is one sentence with target and cause, without waiting for a deadline."""
    client = connect(Target(grpc=f"127.0.0.1:{free_port}"))
    for call in (client.infer(request(), CallContext()), client.server_ready(CallContext())):
        error = await failed(call)
        assert error.code is Code.UNAVAILABLE
        assert error.message == f"the model server at 127.0.0.1:{free_port} can't be reached: connection refused"


async def test_what_does_not_speak_grpc_is_told(connect):
    """Something else on the port is UNAVAILABLE in one sentence."""

    async def other(reader, writer):
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    error = await failed(connect(Target(grpc=f"127.0.0.1:{port}")).infer(request(), CallContext()))
    assert error.code is Code.UNAVAILABLE
    assert f"127.0.0.1:{port}" in error.message
    server.close()


async def test_a_slow_handshake_is_waited_for(connect):
    """A peer whose first frame takes a while is connected to, where a short first attempt would never be enough."""
    async with listening(RecordingInference()) as target:
        host, port = target.grpc.split(":")

        async def pump(source, sink, delay):
            try:
                while data := await source.read(65536):
                    await asyncio.sleep(delay)
                    sink.write(data)
            except ConnectionError:
                pass
            finally:
                sink.close()

        async def relay(reader, writer):
            back, forth = await asyncio.open_connection(host, int(port))
            await asyncio.gather(pump(reader, forth, 0), pump(back, writer, 0.5))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        client = connect(Target(grpc=f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        assert await client.server_ready(CallContext())
        await client.close()
        server.close()


async def test_closing_is_no_end(connect):
    """A closed client may be closed again, and opens anew when it is called."""
    async with listening(RecordingInference()) as target:
        client = connect(target)
        await client.infer(request(), CallContext())
        await client.close()
        await client.close()
        assert (await client.infer(request("7"), CallContext())).id == "7"


async def test_closing_ends_what_is_under_way(connect):
    """Calls under way when the client closes end with an error, and their work ends."""
    slow = SlowInference()
    async with listening(slow) as target:
        client = connect(target)
        call = asyncio.create_task(client.infer(request(), CallContext()))
        await slow.started.acquire()
        await client.close()
        with pytest.raises((InferenceError, asyncio.CancelledError)):
            await call
        await slow.cancelled.acquire()


async def test_tls(connect, tmp_path):
    """Calls go over TLS with the service's authority, and with a certificate of the caller's where it is asked for."""
    tls = make_certificate(tmp_path)
    async with listening(RecordingInference(), tls=Tls(tls.cert, tls.key, tls.cert)) as target:
        shown = Target(grpc=target.grpc, tls_ca=tls.cert, tls_cert=tls.cert, tls_key=tls.key)
        assert (await connect(shown).infer(request("7"), CallContext())).id == "7"
        for lacking in (Target(grpc=target.grpc), Target(grpc=target.grpc, tls_ca=tls.cert)):
            error = await failed(connect(lacking).infer(request(), CallContext()))
            assert error.code is Code.UNAVAILABLE


@pytest.mark.parametrize("missing", ["tls_ca", "tls_key"])
async def test_tls_files_that_cannot_be_used(connect, tmp_path, missing):
    """A missing file is one sentence, at the first call."""
    tls = make_certificate(tmp_path)
    files = {"tls_ca": tls.cert, "tls_cert": tls.cert, "tls_key": tls.key, missing: tmp_path / "none.pem"}
    error = await failed(connect(Target(grpc="127.0.0.1:1", **files)).infer(request(), CallContext()))
    assert "TLS files" in error.message


async def test_a_reply_that_is_none_is_not_the_callers_fault(connect, wire):
    """A service whose reply breaks the protocol is UNKNOWN, for every call that waits for it, and none hangs."""

    async def unary(data, rpc):
        return b"\xff\xff"

    async def stream(requests, rpc):
        async for _ in requests:
            await rpc.write(b"\xff\xff")

    server = aio.server()
    handlers = {name: grpc.unary_unary_rpc_method_handler(unary) for name in ("ModelInfer", "ServerMetadata")}
    handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(pb.SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    client = connect(Target(grpc=f"127.0.0.1:{port}"))
    for call in (client.infer(request(), CallContext()), client.server_metadata(CallContext())):
        error = await failed(call)
        assert error.code is Code.UNKNOWN
        assert "cannot be read" in error.message
    await server.stop(0)
