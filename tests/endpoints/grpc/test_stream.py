"""ModelStreamInfer: many calls on one stream, each with its own answer, error, deadline and cancel."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import asynccontextmanager

import numpy as np
import pytest
from grpc import aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossover.endpoints.grpc import stream as stream_module
from crossover.protocol import streaming
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import DETAILS_KEY, details_in
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from tests.fakes import FailingInference, RecordingInference, SlowInference
from tests.grpc_service import LIMIT, listening, request


class Stream:
    """A bare stream: protobuf messages in and out."""

    def __init__(self, call):
        self.call = call

    async def send(self, identity="", parameters=None):
        await self.call.write(protobuf_codec.encode_request(request(identity, parameters=parameters or {})))

    async def read(self):
        data = await self.call.read()
        return data if data is aio.EOF else pb.ModelStreamInferResponse.FromString(data)


ANY = ((streaming.ORDER, streaming.ANY),)


@asynccontextmanager
async def opened(inference, metadata=(), **options):
    async with listening(inference, **options) as target, aio.insecure_channel(target.grpc) as channel:
        call = channel.stream_stream(f"/{pb.SERVICE}/ModelStreamInfer")(metadata=metadata)
        yield Stream(call)
        call.cancel()


async def test_answers_are_matched_by_id():
    """Every request gets its own answer, raw, under its own id; closing the stream ends it well."""
    async with opened(RecordingInference()) as stream:
        for number in range(20):
            await stream.send(str(number))
        await stream.call.done_writing()
        replies = [await stream.read() for _ in range(20)]
        assert {reply.infer_response.id for reply in replies} == {str(number) for number in range(20)}
        assert all(not reply.error_message and reply.infer_response.raw_output_contents for reply in replies)
        assert await stream.read() is aio.EOF
        assert (await stream.call.code()).name == "OK"


async def test_requests_run_beside_each_other():
    """A slow request does not hold up the ones behind it, where the client asks for answers in any order."""
    slow = SlowInference()
    async with opened(slow, ANY) as stream:
        await stream.send("slow")
        await slow.started.acquire()
        slow.infer = slow.inner.infer
        await stream.send("quick")
        assert (await stream.read()).infer_response.id == "quick"
        slow.release.set()
        assert (await stream.read()).infer_response.id == "slow"


@pytest.mark.parametrize("code", Code)
async def test_errors_travel_in_the_answer(code):
    """An error ends its request alone: its text, its id and its code are in the answer, and the stream goes on."""
    fake = FailingInference(code)
    async with opened(fake) as stream:
        await stream.send("a")
        reply = await stream.read()
        assert reply.error_message == f"because of {code.name}, ä"
        assert reply.infer_response.id == "a"
        assert reply.infer_response.parameters[streaming.CODE].string_param == code.name
        fake.failing = False
        await stream.send("b")
        assert (await stream.read()).infer_response.outputs[0].name == "x"


async def test_a_crash_inside_tells_nothing():
    """What is thrown inside is INTERNAL with a text of ours."""
    async with opened(FailingInference(KeyError("a secret of the insides"))) as stream:
        await stream.send("a")
        reply = await stream.read()
        assert reply.infer_response.parameters[streaming.CODE].string_param == "INTERNAL"
        assert "secret" not in str(reply)


@pytest.mark.parametrize(
    ("data", "identity"),
    [
        (b"\xff\xff", ""),
        (b"\x1a\x01a" + b"\x2a\x03\x12\x01Z", "a"),
        (b"\x1a\x01a" + b"\x3a" + protobuf_codec.varint(LIMIT) + bytes(LIMIT), "a"),
    ],
)
async def test_bad_messages_are_told(data, identity):
    """Garbage, a bad tensor and a message over the limit are answered, with their id where it can be read."""
    async with opened(RecordingInference()) as stream:
        await stream.call.write(data)
        reply = await stream.read()
        assert reply.error_message
        assert reply.infer_response.id == identity
        await stream.send("b")
        assert (await stream.read()).infer_response.id == "b"


async def test_a_reply_over_the_limit_is_told():
    """A reply that is too large is an error of its request, and the stream goes on."""

    class Large(RecordingInference):
        async def infer(self, asked, context):
            if asked.id != "large":
                return await super().infer(asked, context)
            return InferResponse("echo", "1", [Tensor.from_array("y", np.zeros(LIMIT, "u1"))], asked.id)

    async with opened(Large()) as stream:
        await stream.send("large")
        reply = await stream.read()
        assert reply.infer_response.parameters[streaming.CODE].string_param == "TOO_LARGE"
        assert "MAX_MESSAGE_BYTES" in reply.error_message
        await stream.send("b")
        assert (await stream.read()).infer_response.id == "b"


async def test_a_message_cancels_one_request():
    """`crossover_cancel` ends the work of that id and nothing else; a cancelled request has no answer."""
    slow = SlowInference()
    async with opened(slow) as stream:
        for identity in "ab":
            await stream.send(identity)
            await slow.started.acquire()
        for identity in ("nobody", "a"):
            await stream.call.write(streaming.cancel_message(identity))
        await slow.cancelled.acquire()
        slow.release.set()
        assert (await stream.read()).infer_response.id == "b"


async def test_a_cancel_that_comes_while_the_answer_is_written_loses_nothing():
    """The reader is slow, so that answers wait half written; cancelling them then must not break the ones that follow."""
    large = Tensor.from_array("x", np.ones(LIMIT // 8, np.float32))
    async with opened(RecordingInference()) as stream:
        numbers = [str(number) for number in range(60)]  # 30 MB, more than the connection takes
        for identity in numbers:
            await stream.call.write(protobuf_codec.encode_request(InferRequest("echo", [large], id=identity)))
        await asyncio.sleep(0.3)
        for identity in numbers:
            await stream.call.write(streaming.cancel_message(identity))
        await stream.send("last")
        answered = set()
        while "last" not in answered:
            answered.add((await asyncio.wait_for(stream.read(), 20)).infer_response.id)


@pytest.mark.parametrize("parameters", [{streaming.TIMEOUT: 100}, {"timeout": 100_000}])
async def test_each_request_has_its_own_deadline(parameters):
    """A request whose time is over is DEADLINE_EXCEEDED and its work ends; the one beside it goes on."""
    slow = SlowInference()
    async with opened(slow, ANY) as stream:
        await stream.send("patient")
        await stream.send("hasty", parameters)
        reply = await stream.read()
        assert reply.infer_response.id == "hasty"
        assert reply.infer_response.parameters[streaming.CODE].string_param == "DEADLINE_EXCEEDED"
        await slow.cancelled.acquire()
        slow.release.set()
        assert (await stream.read()).infer_response.id == "patient"


@pytest.mark.parametrize("value", [0, -5, "soon", True])
async def test_a_deadline_that_is_no_time_is_refused(value):
    """`crossover_timeout_ms` takes a positive integer."""
    async with opened(RecordingInference()) as stream:
        await stream.send("a", {streaming.TIMEOUT: value})
        assert "milliseconds" in (await stream.read()).error_message


async def test_what_is_ours_goes_no_further():
    """Headers and the timeline of a request's parameters become its context; the Inference sees none of them."""
    fake = RecordingInference()
    ours = {
        streaming.TIMEOUT: 60_000, streaming.TIMELINE: True, streaming.HEADER + "traceparent": "00-a-b-01",
        protobuf_codec.TYPED_OUTPUTS: True,
    }  # fmt: skip
    async with opened(fake) as stream:
        await stream.send("a", {**ours, "theirs": 1})
        reply = await stream.read()
    assert fake.requests[0].parameters == {"theirs": 1}
    assert fake.contexts[0].headers == {"traceparent": "00-a-b-01"}
    told = reply.infer_response.parameters[streaming.TIMELINE].string_param
    assert [item.partition("=")[0] for item in told.split(",")] == [
        "received", "decoded", "started", "finished", "encoded",
    ]  # fmt: skip
    assert list(reply.infer_response.outputs[0].contents.fp32_contents) == [0, 1, 2]


async def test_tritons_final_response():
    """Whoever asks for Triton's empty final response finds the mark on the one response there is."""
    async with opened(RecordingInference()) as stream:
        await stream.send("a", {"triton_enable_empty_final_response": True})
        assert (await stream.read()).infer_response.parameters["triton_final_response"].bool_param
        await stream.send("b")
        assert "triton_final_response" not in (await stream.read()).infer_response.parameters


async def test_requests_without_ids():
    """Clients that send no ids get their answers all the same."""
    async with opened(RecordingInference()) as stream:
        for _ in range(3):
            await stream.send()
        assert [(await stream.read()).infer_response.id for _ in range(3)] == ["", "", ""]


def of_a_closed_loop(record: logging.LogRecord) -> bool:
    """What grpc.aio has still to tell the loop of an earlier test, whose streams were cancelled, it tells the next one."""
    error = record.exc_info[1] if record.exc_info else None
    return "PollerCompletionQueue" in record.getMessage() and str(error) == "Event loop is closed"


async def test_a_client_that_vanishes_leaves_nothing_behind(caplog):
    """When the stream goes away, all that was under way on it is cancelled, without a word in the log."""
    slow = SlowInference()
    async with opened(slow) as stream:
        for number in range(5):
            await stream.send(str(number))
        for _ in range(5):
            await slow.started.acquire()
        stream.call.cancel()
        for _ in range(5):
            await slow.cancelled.acquire()
    said = [record for record in caplog.records if record.levelname in {"ERROR", "WARNING"}]
    assert [record for record in said if not of_a_closed_loop(record)] == []


async def test_a_service_that_stops_ends_its_streams():
    """Stopping answers what is under way and ends the stream; an idle stream does not hold it up."""
    slow = SlowInference()
    async with listening(slow, grace=60) as target:
        channel = aio.insecure_channel(target.grpc)
        busy, idle = (Stream(channel.stream_stream(f"/{pb.SERVICE}/ModelStreamInfer")()) for _ in range(2))
        await busy.send("a")
        await slow.started.acquire()
        await idle.call.wait_for_connection()
        asyncio.get_running_loop().call_later(0.2, slow.release.set)
    assert (await busy.read()).infer_response.id == "a"
    assert await busy.read() is aio.EOF
    assert await idle.read() is aio.EOF
    await channel.close()


class Paced(RecordingInference):
    """Each request takes as many milliseconds as its id's last number says; `most` ran at once."""

    def __init__(self):
        super().__init__()
        self.running = self.most = 0

    async def infer(self, request, context):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(int(request.parameters["ms"]) / 1000)
            if request.model_name == "bad":
                raise InferenceError(Code.OVERLOADED, "too much", 2.5)
            return InferResponse("echo", "1", request.inputs, request.id)
        finally:
            self.running -= 1


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_answers_come_in_the_order_of_the_requests(times, ids):
    """However long each takes, and with ids or without, as Triton answers for models that are not decoupled."""
    paced = Paced()
    async with opened(paced) as stream:
        for number, milliseconds in enumerate(times):
            await stream.send(str(number) if ids else "", {"ms": milliseconds, "number": number})
        replies = [await asyncio.wait_for(stream.read(), 20) for _ in times]
    assert [reply.infer_response.id for reply in replies] == [
        str(number) if ids else "" for number in range(len(times))
    ]


async def test_errors_and_bad_messages_keep_their_place():
    """What fails at once waits for the answers before it."""
    async with opened(Paced()) as stream:
        await stream.send("slow", {"ms": 100})
        await stream.call.write(b"\x1a\x03bad" + b"\x2a\x03\x12\x01Z")
        await stream.send("hasty", {"ms": 10_000, streaming.TIMEOUT: 20})
        await stream.send("quick", {"ms": 0})
        replies = [await stream.read() for _ in range(4)]
    assert [reply.infer_response.id for reply in replies] == ["slow", "bad", "hasty", "quick"]
    assert [bool(reply.error_message) for reply in replies] == [False, True, True, False]


async def test_a_cancelled_request_holds_up_no_answer():
    """It has no answer, so the ones behind it go on."""
    slow = SlowInference()
    async with opened(slow) as stream:
        await stream.send("gone")
        await slow.started.acquire()
        slow.infer = slow.inner.infer
        await stream.send("next")
        await stream.call.write(streaming.cancel_message("gone"))
        assert (await asyncio.wait_for(stream.read(), 20)).infer_response.id == "next"


async def test_any_order_needs_an_id():
    """A request without an id has nothing to be told by, so it waits for the ones before it that have none either."""
    async with opened(Paced(), ANY) as stream:
        await stream.send("", {"ms": 200, "n": 1})
        await stream.send("", {"ms": 0, "n": 2})
        await stream.send("x", {"ms": 0})
        ids = [(await stream.read()).infer_response.id for _ in range(3)]
    assert ids == ["x", "", ""]


async def test_an_error_says_when_to_try_again():
    """`crossover_retry_after` stands beside the code."""
    async with opened(Paced()) as stream:
        await stream.call.write(protobuf_codec.encode_request(request("a", "bad", parameters={"ms": 0})))
        reply = await stream.read()
    assert reply.infer_response.parameters[streaming.RETRY_AFTER].double_param == 2.5


async def test_tritons_real_status_codes():
    """With `triton_grpc_error: true` the first error ends the stream with its status, after the answers before it."""
    async with opened(Paced(), ((streaming.TRITON_GRPC_ERROR, "true"),)) as stream:
        await stream.send("slow", {"ms": 100})
        await stream.call.write(protobuf_codec.encode_request(request("a", "bad", parameters={"ms": 0})))
        await stream.send("later", {"ms": 5000})
        assert (await stream.read()).infer_response.id == "slow"
        with pytest.raises(aio.AioRpcError) as caught:
            await asyncio.wait_for(stream.read(), 20)
    assert caught.value.code().name == "RESOURCE_EXHAUSTED"
    assert caught.value.details() == "too much"
    details = dict(caught.value.trailing_metadata())[DETAILS_KEY]
    assert details_in(details) == ("OVERLOADED", 2.5)


async def test_a_slow_head_bounds_what_waits_behind_it(monkeypatch):
    """Requests and answers behind a slow one count up to the bound; then the stream is read no further until it is done."""
    monkeypatch.setattr(stream_module, "MOST_BYTES", 0)
    limit, slow = 64 << 10, SlowInference()
    large = Tensor.from_array("x", np.ones(limit // 8, np.float32))
    async with opened(slow, max_message_bytes=limit) as stream:
        message = protobuf_codec.encode_request(InferRequest("echo", [large]))
        sending = asyncio.create_task(_write_all(stream, [message] * 40))
        await slow.started.acquire()
        await asyncio.sleep(0.3)
        begun = 1
        while not slow.started.locked():
            await slow.started.acquire()
            begun += 1
        assert begun <= 2 * limit // len(message) + 1
        slow.release.set()
        for _ in range(40):
            assert (await asyncio.wait_for(stream.read(), 20)).infer_response.outputs
        await sending


async def _write_all(stream, messages):
    for message in messages:
        await stream.call.write(message)


async def test_a_stream_on_which_nothing_happens_is_ended(monkeypatch):
    """It ends well, and not while a request is under way."""
    monkeypatch.setattr(stream_module, "IDLE_SECONDS", 0.2)
    async with opened(Paced()) as stream:
        await stream.send("a", {"ms": 600})
        assert (await stream.read()).infer_response.id == "a"
        assert await asyncio.wait_for(stream.read(), 20) is aio.EOF


@pytest.mark.parametrize(("count", "elsewhere"), [(10, False), (200_000, True)])
async def test_much_of_typed_contents_is_read_beside_the_loop(monkeypatch, count, elsewhere):
    """A large message of a stream is decoded in a thread, a small one where it came."""
    threads = []
    decode = stream_module.protobuf_codec.decode_request

    def noted(data):
        threads.append(threading.get_ident())
        return decode(data)

    monkeypatch.setattr(stream_module.protobuf_codec, "decode_request", noted)
    tensor = Tensor.from_array("x", np.arange(count, dtype="i8"))
    read = await stream_module._decoded(protobuf_codec.encode_request(InferRequest("m", [tensor]), typed=True))
    assert read.inputs[0].shape == (count,)
    assert (threads != [threading.get_ident()]) is elsewhere
