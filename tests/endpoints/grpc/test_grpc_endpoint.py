"""The gRPC endpoint around a fake: every error keeps its meaning, nothing of ours leaks, and the next call works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients import grpc_stream, grpc_unary
from endpoints.grpc.serve import GrpcListener
from endpoints.grpc.servicer import GrpcOptions
from endpoints.metrics import Observer
from protocol import protobuf_codec
from protocol.errors import Code, InferenceError
from protocol.inference import CallContext
from protocol.messages import InferRequest, InferResponse
from protocol.tensors import Tensor
from protocol.wires import Target
from protos import inference as pb

LIMIT = 1 << 20
INFER = f"/{pb.SERVICE}/ModelInfer"


class Fake:
    """Echoes; fails with the code that the model is called after; `ready` can be switched."""

    def __init__(self) -> None:
        self.ready = True
        self.cancelled = asyncio.Event()

    async def infer(self, request, context):
        if request.model_name == "CRASH":
            raise KeyError("a secret of the service")
        if request.model_name == "SLOW":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.model_name == "BIG":
            return InferResponse("BIG", "1", [Tensor.from_array("y", np.zeros(LIMIT + 1, "u1"))], request.id)
        if request.model_name in Code.__members__:
            raise InferenceError(Code[request.model_name], f"because of {request.model_name}, ä")
        outputs = [Tensor(tensor.name, tensor.datatype, tensor.shape, raw=tensor.raw) for tensor in request.inputs]
        return InferResponse(request.model_name, "1", outputs, request.id)

    async def server_ready(self, context):
        return self.ready

    async def server_live(self, context):
        return True

    async def model_ready(self, name, version, context):
        if name != "known":
            raise InferenceError(Code.NOT_FOUND, "no such model")
        return self.ready

    async def repository_index(self, ready, context):
        return pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(name="known")])


@asynccontextmanager
async def listening(**options) -> AsyncIterator[tuple[Fake, Target]]:
    fake = Fake()
    listener = GrpcListener(
        fake, "127.0.0.1", 0, options=GrpcOptions(max_message_bytes=LIMIT, **options), observer=Observer()
    )
    await listener.start()
    try:
        yield fake, Target(grpc=f"127.0.0.1:{listener.port}", max_message_bytes=LIMIT)
    finally:
        await listener.stop(0.2)


def request(model: str, identity: str = "") -> InferRequest:
    return InferRequest(model, [Tensor.from_array("x", np.arange(3, dtype="f4"))], id=identity)


@pytest.mark.parametrize("connect", [grpc_unary.connect, grpc_stream.connect], ids=["unary", "stream"])
@pytest.mark.parametrize("code", Code)
async def test_every_code_reaches_the_caller_unchanged(code, connect):
    """What the service means is what the caller gets, with its sentence."""
    async with listening() as (_, target):
        client = connect(target)
        with pytest.raises(InferenceError) as caught:
            await client.infer(request(code.name), CallContext())
        assert (caught.value.code, caught.value.message) == (code, f"because of {code.name}, ä")
        assert (await client.infer(request("echo", "7"), CallContext())).id == "7"
        await client.close()


@pytest.mark.parametrize("connect", [grpc_unary.connect, grpc_stream.connect], ids=["unary", "stream"])
async def test_nothing_of_ours_leaks(connect):
    """A crash inside is INTERNAL with a text that tells nothing."""
    async with listening() as (_, target):
        client = connect(target)
        with pytest.raises(InferenceError) as caught:
            await client.infer(request("CRASH"), CallContext())
        assert caught.value.code is Code.INTERNAL
        assert "secret" not in caught.value.message
        assert "KeyError" not in caught.value.message
        await client.close()


@pytest.mark.parametrize("connect", [grpc_unary.connect, grpc_stream.connect], ids=["unary", "stream"])
async def test_a_caller_that_goes_away_cancels(connect):
    """Cancelling the call cancels the work behind the endpoint; on a stream the other calls live on."""
    async with listening() as (fake, target):
        client = connect(target)
        call = asyncio.create_task(client.infer(request("SLOW"), CallContext()))
        await asyncio.sleep(0.2)
        call.cancel()
        await fake.cancelled.wait()
        assert (await client.infer(request("echo"), CallContext())).outputs[0].count == 3
        await client.close()


@pytest.mark.parametrize("connect", [grpc_unary.connect, grpc_stream.connect], ids=["unary", "stream"])
async def test_oversize_both_ways(connect):
    """A request or a reply over the limit is TOO_LARGE and names the setting."""
    async with listening() as (_, target):
        client = connect(target)
        large = InferRequest("echo", [Tensor.from_array("x", np.zeros(LIMIT + 1, "u1"))])
        for call in (large, request("BIG")):
            with pytest.raises(InferenceError, match="MAX_MESSAGE_BYTES") as caught:
                await client.infer(call, CallContext())
            assert caught.value.code is Code.TOO_LARGE
        assert (await client.infer(request("echo"), CallContext())).outputs[0].count == 3
        await client.close()


async def test_a_service_that_is_away_is_unavailable_at_once_and_found_again():
    """No service: UNAVAILABLE; when it comes back on the same port, the same client reaches it."""
    async with listening() as (_, target):
        client = grpc_unary.connect(target)
        await client.infer(request("echo"), CallContext())
    with pytest.raises(InferenceError, match="reach") as caught:
        await client.infer(request("echo"), CallContext())
    assert caught.value.code is Code.UNAVAILABLE
    again = GrpcListener(Fake(), "127.0.0.1", int(target.grpc.rpartition(":")[2]))
    await again.start()
    while True:
        try:
            await client.infer(request("echo"), CallContext())
            break
        except InferenceError:
            await asyncio.sleep(0.05)
    await client.close()
    await again.stop(0)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\xff", b"\x00" * 50_000])
async def test_bytes_that_are_no_message(data):
    """Garbage is INVALID_ARGUMENT, on infer and on every other method."""
    async with listening() as (_, target), aio.insecure_channel(target.grpc) as channel:
        for method in ("ModelInfer", "ModelMetadata", "RepositoryIndex"):
            with pytest.raises(aio.AioRpcError) as caught:
                await channel.unary_unary(f"/{pb.SERVICE}/{method}")(data)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_unknown_methods_are_unimplemented():
    """A method that is not in the service is UNIMPLEMENTED."""
    async with listening() as (_, target), aio.insecure_channel(target.grpc) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary(f"/{pb.SERVICE}/TraceSetting")(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_replies_are_raw_unless_typed_ones_are_asked_for():
    """raw_output_contents for everybody; typed contents only with the parameter `typed_outputs`."""
    async with listening() as (_, target), aio.insecure_channel(target.grpc) as channel:
        for typed in (False, True):
            reply = await channel.unary_unary(INFER)(protobuf_codec.encode_request(request("echo"), typed=typed))
            message = pb.ModelInferResponse.FromString(reply)
            assert bool(message.raw_output_contents) is not typed
            assert list(message.outputs[0].contents.fp32_contents) == ([0, 1, 2] if typed else [])


async def test_repository_control_can_be_switched_off():
    """Without permission, load and unload are PERMISSION_DENIED; a named repository is UNIMPLEMENTED."""
    async with listening(repository_control=False) as (_, target):
        client = grpc_unary.connect(target)
        for call in (client.load_model, client.unload_model):
            with pytest.raises(InferenceError) as caught:
                await call("m", {}, CallContext())
            assert caught.value.code is Code.PERMISSION_DENIED
        await client.close()


async def test_health_check_and_watch():
    """Health follows the Inference: for the server, its service name and each model; unknown names are told so."""
    async with listening() as (fake, target), aio.insecure_channel(target.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", pb.SERVICE, "known"):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == 1
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.Check(health_pb2.HealthCheckRequest(service="nope"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="known"))
        assert (await watch.read()).status == 1
        fake.ready = False
        assert (await watch.read()).status == 2
        watch.cancel()
        unknown = stub.Watch(health_pb2.HealthCheckRequest(service="nope"))
        assert (await unknown.read()).status == 3
        unknown.cancel()


async def test_two_servers_never_share_a_port():
    """A port in use is refused, where the system's SO_REUSEPORT would split the traffic silently."""
    async with listening() as (_, target):
        second = GrpcListener(Fake(), "127.0.0.1", int(target.grpc.rpartition(":")[2]))
        with pytest.raises(OSError, match="in use"):
            await second.start()


@pytest.mark.parametrize(
    ("host", "reach"), [("0.0.0.0", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "[::1]"), ("::", "[::1]")]
)
async def test_addresses(host, reach):
    """IPv4, IPv6, wildcards and names can be bound and reached."""
    listener = GrpcListener(Fake(), host, 0)
    try:
        await listener.start()
    except OSError as error:
        assert ":" in host, error  # a machine without IPv6
        return
    client = grpc_unary.connect(Target(grpc=f"{reach}:{listener.port}"))
    assert await client.server_ready(CallContext())
    await client.close()
    await listener.stop(0)


async def test_a_cancelled_stream_leaves_no_work_behind():
    """When the whole stream goes away, what was under way on it is cancelled."""
    async with listening() as (fake, target):
        client = grpc_stream.connect(target)
        call = asyncio.create_task(client.infer(request("SLOW"), CallContext()))
        await asyncio.sleep(0.2)
        await client.close()
        await fake.cancelled.wait()
        with pytest.raises(InferenceError):
            await call
