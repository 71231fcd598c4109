"""Protobuf bytes made and read by hand mean what the library says they mean."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossover.protocol.codecs.protobuf import codec
from crossover.protocol.codecs.protobuf import wire as protobuf_wire
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.messages import InferRequest, InferResponse, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb


@st.composite
def tensors(draw, typed=False):
    row = draw(st.sampled_from([row for row in DATATYPES.values() if row.contents or not typed]))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    count = math.prod(shape)
    name = draw(st.text(min_size=1, max_size=5))
    if row.kind == "bytes":
        array = np.empty(count, object)
        array[:] = draw(st.lists(st.binary(max_size=5), min_size=count, max_size=count))
        return Tensor(name, row, shape, array=array.reshape(shape))
    raw = draw(st.binary(min_size=(n := count * row.itemsize), max_size=n))
    raw = bytes(byte & 1 for byte in raw) if row.kind == "bool" else raw
    return Tensor.from_raw(name, row.name, shape, raw)


parameters = st.dictionaries(
    st.text(min_size=1, max_size=5).filter(lambda name: name != "typed_outputs"),
    st.booleans() | st.text(max_size=5) | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False),
    max_size=3,
)
requests = st.builds(
    InferRequest, st.text(max_size=5), st.lists(tensors(), max_size=3), st.text("0123456789", max_size=3), st.text(max_size=5),
    st.lists(st.builds(RequestedOutput, st.text(max_size=5), parameters), max_size=2), parameters,
)  # fmt: skip


def same(a, b):
    return (a.name, a.datatype, a.shape, bytes(a.raw)) == (b.name, b.datatype, b.shape, bytes(b.raw))


@given(requests)
def test_the_library_reads_what_is_joined_by_hand(request):
    """A message made from a head and raw fields parses to the message that the library would make."""
    message = pb.ModelInferRequest.FromString(codec.encode_request(request))
    assert list(message.raw_input_contents) == [bytes(tensor.raw) for tensor in request.inputs]
    assert message.SerializeToString(deterministic=True) == pb.ModelInferRequest.FromString(
        message.SerializeToString()
    ).SerializeToString(deterministic=True)


@given(requests, st.booleans())
def test_requests_survive(request, large):
    """Every request comes back equal, cut by hand or by the library."""
    data = codec.encode_request(request)
    if large:
        rest, raws = protobuf_wire.cut(memoryview(data), 7)
        assert [bytes(raw) for raw in raws] == [bytes(tensor.raw) for tensor in request.inputs]
        assert not pb.ModelInferRequest.FromString(b"".join(rest)).raw_input_contents
    got = codec.decode_request(data)
    assert all(same(a, b) for a, b in zip(got.inputs, request.inputs, strict=True))
    got.inputs = request.inputs
    assert got == request


@given(st.lists(tensors(typed=True), max_size=3))
def test_typed_contents_survive(inputs):
    """What typed contents carry comes back bit for bit, NaN payloads of FP32 aside."""
    got = codec.decode_request(codec.encode_request(InferRequest("m", inputs), typed=True))
    assert got.parameters == {"typed_outputs": True}
    for a, b in zip(got.inputs, inputs, strict=True):
        assert (a.name, a.datatype, a.shape) == (b.name, b.datatype, b.shape)
        if b.datatype.kind == "float":
            np.testing.assert_array_equal(a.array, b.array)
        else:
            assert bytes(a.raw) == bytes(b.raw)


@given(st.lists(tensors(typed=True), max_size=3))
def test_the_library_reads_typed_contents_joined_by_hand(inputs):
    """Typed contents written by hand are the elements that the library finds in the datatype's field."""
    message = pb.ModelInferRequest.FromString(codec.encode_request(InferRequest("m", inputs), typed=True))
    assert not message.raw_input_contents
    for entry, tensor in zip(message.inputs, inputs, strict=True):
        assert (entry.name, entry.datatype, tuple(entry.shape)) == (tensor.name, tensor.datatype.name, tensor.shape)
        elements = list(getattr(entry.contents, tensor.datatype.contents))
        np.testing.assert_array_equal(np.array(elements), np.array(tensor.array.ravel().tolist()))
        assert entry.contents.ByteSize() == 0 or len(entry.contents.ListFields()) == 1


def test_booleans_that_are_not_one_byte_of_one_or_zero():
    """Any raw byte but 0 is true; typed contents say 1, where a large byte would be half a varint."""
    tensor = Tensor.from_raw("x", "BOOL", [4], bytes([0, 1, 2, 0xFF]))
    got = codec.decode_request(codec.encode_request(InferRequest("m", [tensor]), typed=True))
    assert got.inputs[0].array.tolist() == [False, True, True, True]


@given(st.lists(tensors(typed=True), max_size=3), st.booleans())
def test_stream_responses_survive(outputs, typed):
    """A response inside a stream's message is the response that was put into it, and the library reads it too."""
    response = InferResponse("m", "1", outputs, "i", {"p": 1})
    data = codec.encode_stream_response(response, typed=typed)
    text, got = codec.decode_stream_response(data)
    assert (text, got.id, got.parameters) == ("", "i", {"p": 1})
    assert [(tensor.name, tensor.shape) for tensor in got.outputs] == [(one.name, one.shape) for one in outputs]
    message = pb.ModelStreamInferResponse.FromString(data)
    assert message.infer_response.SerializeToString(deterministic=True) == pb.ModelInferResponse.FromString(
        codec.encode_response(response, typed=typed)
    ).SerializeToString(deterministic=True)


def test_text_that_is_no_unicode_is_refused():
    """A lone surrogate has no UTF-8; it is refused wherever it stands."""
    for request in (
        InferRequest("\ud800", []),
        InferRequest("m", [], parameters={"a": "\ud800"}),
        InferRequest("m", [Tensor.from_array("\ud800", np.zeros(1))]),
    ):
        for typed in (False, True):
            with pytest.raises(InferenceError, match="surrogate"):
                codec.encode_request(request, typed=typed)


@pytest.mark.parametrize("field", [b"\x3a\x00", b"\x2a\x00", b"\x98\x06\x00"])
def test_a_message_of_very_many_fields_is_refused(field):
    """A large message made of nothing but small fields is refused after a bounded number of them."""
    with pytest.raises(InferenceError, match="more than 5000 fields"):
        codec.decode_request(field * 200_000)


@pytest.mark.parametrize(
    ("data", "identity"),
    [
        (b"\x0a\x01m\x1a\x03abc" + b"\x2a\x00" * 200_000, "abc"),
        (b"\x2a\x00" * 200_000 + b"\x1a\x03abc", ""),
        (b"\x1a\x03abc\xff\xff", "abc"), (b"\xff\xff", ""), (b"\x1a\x90\x4e" + b"x" * 10_000, ""), (b"", ""),
    ],
)  # fmt: skip
def test_the_id_of_what_is_no_request_is_read_in_bounded_time(data, identity):
    """A refusal on a stream names its request where the id stands among the first fields and is a reasonable one."""
    assert codec.id_of(data) == identity


def test_a_tensor_in_shared_memory_is_told_apart():
    """Its parameters stand in `shared`, it has no bytes, and the raw contents are those of the other inputs."""
    message = _message(inputs=[_input("there"), _input("here")], raw_input_contents=[b"12"])
    message.inputs[0].parameters["shared_memory_region"].string_param = "r"
    message.inputs[0].parameters["shared_memory_byte_size"].int64_param = 2
    request = codec.decode_request(message.SerializeToString())
    assert request.shared.inputs == {
        "there": {"shared_memory_region": "r", "shared_memory_byte_size": 2, "shared_memory_offset": 0}
    }
    assert [bytes(tensor.raw) for tensor in request.inputs] == [b"", b"12"]


@pytest.mark.parametrize("value", [{"int64_param": 1}, {"string_param": ""}, {"bool_param": True}])
def test_a_region_has_a_name(value):
    """Anything else is INVALID_ARGUMENT."""
    message = _message(inputs=[_input()])
    message.inputs[0].parameters["shared_memory_region"].CopyFrom(pb.InferParameter(**value))
    with pytest.raises(InferenceError, match="takes the name of a region"):
        codec.decode_request(message.SerializeToString())


def test_a_datatype_without_typed_contents_names_what_carries_it():
    """FP16 has no typed field; the error names raw contents and the wire that has them."""
    with pytest.raises(InferenceError, match="'grpc'") as caught:
        codec.encode_response(InferResponse("m", "1", [Tensor.from_array("y", np.zeros(2, "f2"))]), typed=True)
    assert caught.value.code is Code.NOT_CARRIED


@given(st.lists(tensors(), max_size=3), st.text(max_size=5))
def test_responses_survive(outputs, identity):
    """Every response comes back equal."""
    got = codec.decode_response(codec.encode_response(InferResponse("m", "1", outputs, identity)))
    assert got.id == identity
    assert all(same(a, b) for a, b in zip(got.outputs, outputs, strict=True))


def test_large_messages_are_not_copied():
    """The array of a large input is a view on the message that it came in."""
    data = codec.encode_request(InferRequest("m", [Tensor.from_array("x", np.arange(100_000, dtype="f4"))]))
    got = codec.decode_request(data)
    assert np.shares_memory(got.inputs[0].array, np.frombuffer(data, np.uint8))


@given(st.binary(max_size=300))
def test_garbage_is_refused_with_a_sentence(data):
    """Bytes that are no message raise InferenceError and nothing else, whichever way they are read."""
    for read in (codec.decode_request, codec.decode_response, codec.decode_stream_response):
        try:
            read(data)
        except InferenceError as error:
            assert error.code is Code.INVALID_ARGUMENT


@given(st.binary(max_size=100))
def test_garbage_is_refused_when_large(data):
    """The walk by hand refuses what the library refuses."""
    padded = data + bytes(40_000)
    with pytest.raises(InferenceError):
        codec.decode_request(padded)


def _message(**fields):
    return pb.ModelInferRequest(model_name="m", **fields)


def _input(name="x", datatype="INT8", shape=(2,), **contents):
    made = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(made.contents, field).extend(values)
    return made


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (_message(inputs=[_input(int_contents=[1, 2])], raw_input_contents=[b"12"]), "must not be specified"),
        (_message(inputs=[_input(), _input("y")], raw_input_contents=[b"12"]), "expected 2"),
        (_message(inputs=[_input()], raw_input_contents=[b"12", b"12"]), "expected 1"),
        (_message(inputs=[_input()], raw_input_contents=[b"123"]), "3 bytes"),
        (_message(inputs=[_input(int_contents=[1, 300])]), "300"),
        (_message(inputs=[_input(int_contents=[1])]), "1 elements"),
        (_message(inputs=[_input(fp32_contents=[1, 2])]), "int_contents"),
        (_message(inputs=[_input(int_contents=[1, 2], fp32_contents=[1])]), "int_contents"),
        (_message(inputs=[_input(datatype="FP16")]), "raw_input_contents only"),
        (_message(inputs=[_input(shape=[-1])], raw_input_contents=[b""]), "negative"),
        (_message(inputs=[_input(shape=[2**40, 2**40])], raw_input_contents=[b""]), "larger"),
        (_message(inputs=[_input(datatype="int8")], raw_input_contents=[b"12"]), "datatype"),
    ],
)
def test_the_rules_of_contents_hold(message, says):
    """Mixed, missing, surplus and misplaced contents are refused, each with its own sentence."""
    with pytest.raises(InferenceError, match=says):
        codec.decode_request(message.SerializeToString())
