"""What the gRPC endpoint answers, seen by a caller that knows nothing but gRPC."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from crossover.endpoints.control_policy import ControlPolicy
from crossover.protocol import timeline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from crossover.service.metrics import Observer
from crossover.transport.memory_budget import MemoryBudget
from tests.fakes import FailingInference, RecordingInference, SlowInference
from tests.grpc_service import LIMIT, listening, request

INFER = f"/{pb.SERVICE}/ModelInfer"
DATA = protobuf_codec.encode_request(request())


async def refused(call) -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize("code", Code)
async def test_status_text_and_reason(code):
    """Each code has its status from the table, its sentence, and its name in the trailer's one ErrorInfo."""
    async with listening(FailingInference(code)) as target, aio.insecure_channel(target.grpc) as channel:
        error = await refused(channel.unary_unary(INFER)(DATA))
    assert error.code().value[0] == code.status.grpc
    assert error.details() == f"because of {code.name}, ä"
    (details,) = [value for key, value in error.trailing_metadata() if key == "grpc-status-details-bin"]
    status, info = status_pb2.Status.FromString(details), error_details_pb2.ErrorInfo()
    assert (status.code, status.message) == (code.status.grpc, error.details())
    (detail,) = status.details
    assert detail.Unpack(info)
    assert (info.reason, info.domain) == (code.name, "crossover")


@pytest.mark.parametrize("method", [name for name, method in pb.METHODS.items() if not method.client_streaming])
async def test_a_crash_inside_tells_nothing(method, caplog):
    """On every call an exception of ours is INTERNAL with a text of ours; the log has the traceback."""
    fake = FailingInference(KeyError("a secret of the insides"))
    async with (
        listening(fake, control=ControlPolicy(shared_memory=True)) as target,
        aio.insecure_channel(target.grpc) as channel,
    ):
        with caplog.at_level(logging.ERROR):
            error = await refused(
                channel.unary_unary(f"/{pb.SERVICE}/{method}")(DATA if method == "ModelInfer" else b"")
            )
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert "KeyError" not in error.details()
    assert "KeyError: 'a secret of the insides'" in caplog.text


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\xff", b"\x00" * 50_000, b"\x3a\x00" * 100_000, b"\x0a\x01\xff"]
)
@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "RepositoryIndex"])
async def test_bytes_that_are_no_message(data, method):
    """Garbage is INVALID_ARGUMENT with one sentence, and the next call works."""
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        if method != "ModelInfer" and data[:1] == b"\x3a":
            return  # unknown fields are legal there
        error = await refused(channel.unary_unary(f"/{pb.SERVICE}/{method}")(data))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "the message" in error.details()
        await channel.unary_unary(INFER)(DATA)


async def test_unknown_methods_are_unimplemented():
    """A method or a service that is not here is UNIMPLEMENTED."""
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        for path in (f"/{pb.SERVICE}/TraceSetting", "/inference.Other/ModelInfer"):
            assert (await refused(channel.unary_unary(path)(b""))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_replies_are_raw_unless_typed_ones_are_asked_for():
    """raw_output_contents for everybody; typed contents only with `typed_outputs`, which goes no further."""
    fake = RecordingInference()
    async with listening(fake) as target, aio.insecure_channel(target.grpc) as channel:
        for typed in (False, True):
            reply = await channel.unary_unary(INFER)(protobuf_codec.encode_request(request(), typed=typed))
            message = pb.ModelInferResponse.FromString(reply)
            assert bool(message.raw_output_contents) is not typed
            assert list(message.outputs[0].contents.fp32_contents) == ([0, 1, 2] if typed else [])
            assert fake.requests[-1].parameters == {}


async def test_what_lies_between_our_limit_and_grpcs_is_refused_by_us():
    """Over MAX_MESSAGE_BYTES the text names size, limit and setting; far over it gRPC itself refuses."""
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        error = await refused(channel.unary_unary(INFER)(bytes(LIMIT + 1)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == (
            f"the request message has {LIMIT + 1} bytes; the limit is {LIMIT} (MAX_MESSAGE_BYTES)"
        )
        error = await refused(channel.unary_unary(INFER)(bytes(8 * LIMIT)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await channel.unary_unary(INFER)(DATA)


async def test_compressed_requests_count_as_what_they_unpack_to():
    """A gzipped request is read; one that unpacks to more than the limit is refused."""
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        call = channel.unary_unary(INFER)
        for zeros, code in ((1000, None), (LIMIT, "ours"), (20 * LIMIT, "gRPC's")):
            data = (
                protobuf_codec.encode_request(request())[:-14] + b"\x3a" + protobuf_codec.varint(zeros) + bytes(zeros)
            )
            if code is None:
                await call(DATA, compression=grpc.Compression.Gzip)
                continue
            error = await refused(call(data, compression=grpc.Compression.Gzip))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, code


async def test_a_refusal_leaves_nothing_to_the_garbage_collector():
    """What a refused call held is freed with it: circles of it stop everybody for a while when many are refused."""
    bad = protobuf_codec.encode_request(request())[:-1]
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        await refused(channel.unary_unary(INFER)(bad))
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(5):
                await refused(channel.unary_unary(INFER)(bad))
            gc.collect()
            left = Counter(type(each).__name__ for each in gc.garbage)
        finally:
            gc.set_debug(0)
            gc.enable()
            gc.garbage.clear()
    assert not set(left) & {"ModelInfer", "CallContext", "_ServicerContext", "ServerCall", "InferenceError"}, left


async def test_grpc_timeout_ends_the_work():
    """When the caller's time is over the call is DEADLINE_EXCEEDED and the work behind it is cancelled."""
    slow = SlowInference()
    async with listening(slow) as target, aio.insecure_channel(target.grpc) as channel:
        error = await refused(channel.unary_unary(INFER)(DATA, timeout=0.3))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await slow.cancelled.acquire()


@pytest.mark.parametrize("how", ["parameter", "setting"])
async def test_other_deadlines_end_the_work(how):
    """OIP's `timeout` and DEFAULT_TIMEOUT_MS do the same, whoever keeps time behind the endpoint."""
    slow = SlowInference()
    parameters = {"timeout": 100_000} if how == "parameter" else {}
    options = {"default_timeout_ms": 100} if how == "setting" else {}
    data = protobuf_codec.encode_request(request(parameters=parameters))
    async with listening(slow, **options) as target, aio.insecure_channel(target.grpc) as channel:
        error = await refused(channel.unary_unary(INFER)(data, timeout=60))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "deadline" in error.details()
        await slow.cancelled.acquire()


async def test_the_smallest_deadline_wins():
    """What reaches the Inference is the nearest of grpc-timeout, `timeout` and the setting."""
    fake = RecordingInference()
    loop = asyncio.get_running_loop()
    async with listening(fake, default_timeout_ms=50_000) as target, aio.insecure_channel(target.grpc) as channel:
        call = channel.unary_unary(INFER)
        for seconds, parameters, expected in ((None, {}, 50), (20, {}, 20), (20, {"timeout": 10_000_000}, 10)):
            await call(protobuf_codec.encode_request(request(parameters=parameters)), timeout=seconds)
            left = fake.contexts[-1].deadline - loop.time()
            assert expected - 9 < left < expected + 1  # grpc-timeout is rounded up on its way


@pytest.mark.parametrize("value", [-1, True, "5", 1.5])
async def test_a_timeout_that_is_no_time_is_refused(value):
    """The parameter takes a positive integer of microseconds."""
    async with listening(RecordingInference()) as target, aio.insecure_channel(target.grpc) as channel:
        error = await refused(
            channel.unary_unary(INFER)(protobuf_codec.encode_request(request(parameters={"timeout": value})))
        )
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "microseconds" in error.details()


async def test_a_caller_that_goes_away_cancels():
    """Cancelling the RPC cancels the work; the server goes on."""
    slow = SlowInference()
    async with listening(slow) as target, aio.insecure_channel(target.grpc) as channel:
        call = channel.unary_unary(INFER)(DATA)
        await slow.started.acquire()
        call.cancel()
        await slow.cancelled.acquire()
        slow.release.set()
        await channel.unary_unary(INFER)(DATA)


async def test_headers_and_timeline():
    """Headers that travel reach the Inference; a timeline comes back in the trailers only when it is asked for."""
    fake = RecordingInference()
    async with listening(fake) as target, aio.insecure_channel(target.grpc) as channel:
        sent = (("traceparent", "00-a-b-01"), ("x-request-id", "7"), ("authorization", "secret"))
        call = channel.unary_unary(INFER)(DATA, metadata=sent)
        await call
        assert fake.contexts[-1].headers == {"traceparent": "00-a-b-01", "x-request-id": "7"}
        assert timeline.HEADER not in {key for key, _ in await call.trailing_metadata()}
        call = channel.unary_unary(INFER)(DATA, metadata=((timeline.HEADER, "1"),))
        await call
        (told,) = [value for key, value in await call.trailing_metadata() if key == timeline.HEADER]
        stations = dict(item.split("=") for item in told.split(","))
        assert list(stations) == ["received", "decoded", "started", "finished", "encoded"]
        assert sorted(map(int, stations.values())) == list(map(int, stations.values()))


async def test_the_control_plane_passes_through():
    """Every control call reaches the Inference with its arguments and comes back as its own message."""
    fake = RecordingInference()
    async with listening(fake) as target, aio.insecure_channel(target.grpc) as channel:

        async def ask(name, /, **fields):
            data = await channel.unary_unary(f"/{pb.SERVICE}/{name}")(
                pb.METHODS[name].request(**fields).SerializeToString()
            )
            return pb.METHODS[name].response.FromString(data)

        assert (await ask("ServerLive")).live
        assert (await ask("ServerReady")).ready
        assert (await ask("ModelReady", name="echo", version="1")).ready
        assert (await ask("ServerMetadata")).name == "fake"
        assert (await ask("ModelMetadata", name="echo")).inputs[0].shape == [-1]
        assert (await ask("ModelConfig", name="echo")).config.max_batch_size == 4
        assert (await ask("ModelStatistics")).model_stats[0].inference_count == 2**40
        assert (await ask("RepositoryIndex", ready=True)).models[0].state == "READY"
        load = pb.RepositoryModelLoadRequest(model_name="echo")
        load.parameters["config"].string_param = "{}"
        load.parameters["file:1/model.onnx"].bytes_param = b"\0\xff"
        await channel.unary_unary(f"/{pb.SERVICE}/RepositoryModelLoad")(load.SerializeToString())
        await ask("RepositoryModelUnload", model_name="echo")
        assert fake.controls == [
            ("index", True),
            ("load", "echo", {"config": "{}", "file:1/model.onnx": b"\0\xff"}),
            ("unload", "echo", {}),
        ]
        fake.ready = False
        assert not (await ask("ModelReady", name="echo")).ready
        error = await refused(ask("ModelReady", name="nope"))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_repository_control():
    """Switched off, load and unload are PERMISSION_DENIED; a repository by name is UNIMPLEMENTED."""
    fake = RecordingInference()
    async with (
        listening(fake, control=ControlPolicy(control=False)) as target,
        aio.insecure_channel(target.grpc) as channel,
    ):
        for name in ("RepositoryModelLoad", "RepositoryModelUnload", "RepositoryIndex"):
            message = pb.METHODS[name].request(repository_name="other").SerializeToString()
            error = await refused(channel.unary_unary(f"/{pb.SERVICE}/{name}")(message))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
            if name != "RepositoryIndex":
                error = await refused(channel.unary_unary(f"/{pb.SERVICE}/{name}")(b""))
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert fake.controls == []


async def test_metrics_count_every_end():
    """Successes, errors and callers that go away are counted once each, by route and model."""
    observer, slow = Observer(), SlowInference()
    slow.release.set()
    async with listening(slow, observer=observer) as target, aio.insecure_channel(target.grpc) as channel:
        await channel.unary_unary(INFER)(DATA)
        await refused(channel.unary_unary(INFER)(b"\xff"))
        slow.release.clear()
        call = channel.unary_unary(INFER)(DATA)
        for _ in range(2):
            await slow.started.acquire()
        call.cancel()
        await slow.cancelled.acquire()
    text = observer.render().decode()
    assert 'crossover_requests_total{model="echo",route="ModelInfer",wire="grpc"} 2.0' in text
    assert 'code="CANCELLED",model="echo",route="ModelInfer",wire="grpc"} 1.0' in text
    assert 'code="INVALID_ARGUMENT",model="",route="ModelInfer",wire="grpc"} 1.0' in text
    assert 'crossover_requests_in_flight{wire="grpc"} 0.0' in text


async def test_large_tensors_both_ways():
    """A tensor as large as the limit allows comes back whole."""
    array = np.random.default_rng(0).integers(0, 255, LIMIT - 100, dtype=np.uint8)
    message = pb.ModelInferRequest(
        model_name="echo",
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="UINT8", shape=[array.size])],
        raw_input_contents=[array.tobytes()],
    )
    async with listening(RecordingInference()) as target:
        options = [("grpc.max_receive_message_length", -1)]
        async with aio.insecure_channel(target.grpc, options) as channel:
            reply = pb.ModelInferResponse.FromString(await channel.unary_unary(INFER)(message.SerializeToString()))
    assert reply.raw_output_contents[0] == array.tobytes()


async def test_the_memory_of_all_requests_in_flight_is_bounded():
    """What does not fit is RESOURCE_EXHAUSTED and OVERLOADED, on unary calls and streams; all of it is given back."""
    slow, budget = SlowInference(), MemoryBudget(10_000)
    message = protobuf_codec.encode_request(InferRequest("echo", [Tensor.from_array("x", np.zeros(2000, np.float32))]))
    async with listening(slow, budget=budget) as target, aio.insecure_channel(target.grpc) as channel:
        infer = channel.unary_unary(f"/{pb.SERVICE}/ModelInfer")
        first = asyncio.create_task(_awaited(infer(message)))
        await slow.started.acquire()
        error = await refused(infer(message))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "MAX_IN_FLIGHT_BYTES" in error.details()
        stream = channel.stream_stream(f"/{pb.SERVICE}/ModelStreamInfer")()
        await stream.write(message)
        assert "MAX_IN_FLIGHT_BYTES" in pb.ModelStreamInferResponse.FromString(await stream.read()).error_message
        stream.cancel()
        slow.release.set()
        await first
        assert budget.used == 0


async def _awaited(call):
    return await call
