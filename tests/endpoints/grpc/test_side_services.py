"""grpc.health.v1 and server reflection beside the OIP service."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from crossover.protocol.errors import Code
from crossover.protos import inference as pb
from tests.fakes import FailingInference, RecordingInference
from tests.grpc_service import listening

GRPCURL = Path(sys.executable).with_name("grpcurl")
V1, V1ALPHA = "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"
SERVING, NOT_SERVING, UNKNOWN = 1, 2, 3


def asked(service: str):
    return health_pb2.HealthCheckRequest(service=service)


async def test_check_follows_the_inference():
    """The server, its service and each model are SERVING while the Inference says they are ready."""
    fake = RecordingInference()
    async with listening(fake) as target, aio.insecure_channel(target.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for ready, status in ((True, SERVING), (False, NOT_SERVING), (True, SERVING)):
            fake.ready = ready
            for name in ("", pb.SERVICE, "echo"):
                assert (await stub.Check(asked(name))).status == status
        with pytest.raises(aio.AioRpcError, match="'nope'") as caught:
            await stub.Check(asked("nope"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        listed = (await stub.List(health_pb2.HealthListRequest())).statuses
        assert {name: status.status for name, status in listed.items()} == {"": 1, pb.SERVICE: 1, "echo": 1}


@pytest.mark.parametrize(
    "path",
    [
        "grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch", f"{V1}/ServerReflectionInfo",
        f"{V1ALPHA}/ServerReflectionInfo", f"{pb.SERVICE}/ModelInfer", f"{pb.SERVICE}/ServerMetadata",
        f"{pb.SERVICE}/RepositoryModelLoad",
    ],
)  # fmt: skip
async def test_a_message_that_cannot_be_decoded_is_the_callers_fault(path):
    """INVALID_ARGUMENT in our words, whichever service has the method; no class of an exception."""
    many = path.endswith("ReflectionInfo")
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        kind = channel.stream_stream if many else channel.unary_stream
        call = kind(f"/{path}")([b"\xff\xff"] if many else b"\xff\xff")
        with pytest.raises(aio.AioRpcError, match="can't be decoded as protobuf of ") as caught:
            await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("path", ["grpc.health.v1.Health/Check", f"{V1}/ServerReflectionInfo"])
async def test_requests_of_side_services_are_small(path):
    """They name something; what is longer than any name is refused before it is decoded on the event loop."""
    async with listening(RecordingInference(), max_message_bytes=1 << 20) as target:
        async with aio.insecure_channel(target.grpc) as channel:
            call = channel.stream_stream(f"/{path}")([bytes(1 << 17)])
            with pytest.raises(aio.AioRpcError, match="131072 bytes; a request of this method takes 65536") as caught:
                await call.read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_watch_tells_changes():
    """Watch sends the status now and at each change; of an unknown name SERVICE_UNKNOWN, without ending."""
    fake = RecordingInference()
    async with listening(fake) as target, aio.insecure_channel(target.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watch, unknown = stub.Watch(asked("echo")), stub.Watch(asked("nope"))
        assert (await watch.read()).status == SERVING
        fake.ready = False
        assert (await watch.read()).status == NOT_SERVING
        fake.ready = True
        assert (await watch.read()).status == SERVING
        assert (await unknown.read()).status == UNKNOWN
        watch.cancel()
        unknown.cancel()


async def test_watch_ends_when_the_service_stops():
    """A watcher is told NOT_SERVING and let go, so that it holds up no stop."""
    async with listening(RecordingInference(), grace=60) as target:
        channel = aio.insecure_channel(target.grpc)
        watch = health_pb2_grpc.HealthStub(channel).Watch(asked(""))
        assert (await watch.read()).status == SERVING
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is aio.EOF
    await channel.close()


async def test_what_fails_is_not_serving():
    """An Inference that breaks when it is asked is NOT_SERVING, and its insides stay inside."""
    fake = FailingInference(KeyError("a secret of the insides"))
    async with listening(fake) as target, aio.insecure_channel(target.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(asked(""))).status == NOT_SERVING
        with pytest.raises(aio.AioRpcError) as caught:
            await stub.List(health_pb2.HealthListRequest())
        assert "secret" not in caught.value.details()


async def reflected(channel, version, **fields):
    call = channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )()
    await call.write(reflection_pb2.ServerReflectionRequest(**fields))
    await call.done_writing()
    return await call.read()


@pytest.mark.parametrize("version", [V1, V1ALPHA])
async def test_both_versions_of_reflection_find_everything(version):
    """Services are listed, and the files of services, methods, messages and health come with what they import."""
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        listed = (await reflected(channel, version, list_services="")).list_services_response.service
        assert {pb.SERVICE, "grpc.health.v1.Health"} <= {service.name for service in listed}
        for symbol in (
            pb.SERVICE, f"{pb.SERVICE}.ModelInfer", "inference.ModelInferRequest", "inference.ModelConfig",
            "grpc.health.v1.Health", "grpc.health.v1.Health.Watch", "google.rpc.ErrorInfo", "google.rpc.Status",
        ):  # fmt: skip
            reply = (await reflected(channel, version, file_containing_symbol=symbol)).file_descriptor_response
            files = [descriptor_pb2.FileDescriptorProto.FromString(data) for data in reply.file_descriptor_proto]
            names = {file.name for file in files}
            assert names
            assert all(name in names for file in files for name in file.dependency)
        reply = await reflected(channel, version, file_containing_symbol="inference.Nope")
        assert reply.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def grpcurl(*arguments: str, fails: bool = False) -> str:
    process = await asyncio.create_subprocess_exec(
        GRPCURL, "-plaintext", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert (process.returncode != 0) is fails, out
    return out.decode()


@pytest.mark.skipif(not GRPCURL.exists(), reason="grpcurl is not installed (make test installs it)")
async def test_the_real_grpcurl():
    """grpcurl needs no file: it lists, describes, infers (typed and raw) and checks health by reflection."""
    async with listening(RecordingInference()) as target:
        assert pb.SERVICE in (await grpcurl(target.grpc, "list")).split()
        for symbol in ("", pb.SERVICE, "inference.ModelInferRequest", "grpc.health.v1.Health.Check"):
            assert await grpcurl(target.grpc, "describe", *([symbol] if symbol else []))
        tensor = {"name": "x", "datatype": "FP32", "shape": ["2"]}
        typed = {"inputs": [{**tensor, "contents": {"fp32_contents": [1, "NaN"]}}]}
        raw = {"inputs": [tensor], "rawInputContents": ["AACAPwAAwH8="]}
        for body in (typed, raw):
            message = json.dumps({"model_name": "echo", **body})
            answer = json.loads(await grpcurl("-d", message, target.grpc, f"{pb.SERVICE}/ModelInfer"))
            assert answer["rawOutputContents"] == ["AACAPwAAwH8="]
        health = await grpcurl("-d", '{"service":"echo"}', target.grpc, "grpc.health.v1.Health/Check")
        assert json.loads(health) == {"status": "SERVING"}


@pytest.mark.skipif(not GRPCURL.exists(), reason="grpcurl is not installed (make test installs it)")
async def test_grpcurl_reads_what_an_error_carries():
    """Reflection knows the message inside an error's details, so tools show its reason instead of bytes."""
    async with listening(FailingInference(Code.OVERLOADED)) as target:
        printed = await grpcurl("-d", '{"name": "m"}', target.grpc, f"{pb.SERVICE}/ModelMetadata", fails=True)
        assert "Code: ResourceExhausted" in printed
        assert '"domain":"crossover","reason":"OVERLOADED"' in printed
