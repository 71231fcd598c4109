"""What a body may make the process build is bounded before it is built: counts, sizes, and memory for its size."""

from __future__ import annotations

import threading
import time
import tracemalloc

import numpy as np
import pytest

from crossover.endpoints.grpc.operations import Control
from crossover.protocol import limits
from crossover.protocol.codecs import sizes
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json.text import EXPANSION, EXPANSION_FLOOR, loads
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.protobuf import varints
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.names import check_model_name
from crossover.protocol.native import jsontensors
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from tests.protocol.codecs.hostile import OTHERS, SHAPES, nested, one

pytestmark = pytest.mark.usefixtures("settled_collector")

MiB = 1 << 20
EMPTY_TEXTS = b",".join([b'""'] * 3 * MiB)
MOST_MEMORY = 12 + EXPANSION
"""Bytes of memory for a byte of a hostile body, at most and beyond the floor: orjson alone sets aside twelve."""


def inputs(count: int) -> bytes:
    item = b'{"name":"x%d","datatype":"FP32","shape":[1],"data":[1]}'
    return b'{"inputs":[%b]}' % b",".join(item % i for i in range(count))


def parameters(count: int) -> bytes:
    return b'{"inputs":[],"parameters":{%b}}' % b",".join(b'"p%d":1' % i for i in range(count))


REFUSED = {
    "8 MiB of empty text": (one(b"BYTES", b"[%d]" % (3 * MiB)) + b"[" + EMPTY_TEXTS + b"]}]}", "BYTES tensor 'x'"),
    "empty text of another shape": (one(b"BYTES") + b"[" + EMPTY_TEXTS + b"]}]}", r"3145728 elements in 'data'"),
    "empty lists": (one(b"FP32") + b"[" + b"[]," * (3 * MiB) + b"1]}]}", "lists"),
    "empty objects as inputs": (b'{"inputs":[' + b"{}," * (3 * MiB) + b"{}]}", "objects"),
    "150,000 inputs": (inputs(150_000), "150001 objects|names"),
    "2,000 inputs": (inputs(2000), "2000 inputs; a message takes 1024"),
    "800,000 parameters": (parameters(800_000), "800002 names"),
    "2,000 parameters": (parameters(2000), "2000 parameters of the request; a message takes 1024"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_json_body_is_refused_before_it_is_built(name):
    """Refused with a sentence that says what there is too much of, within a small multiple of the body's memory."""
    body, says = REFUSED[name]
    tracemalloc.start()
    with pytest.raises(InferenceError, match=says) as caught:
        json_codec.decode_request(body, "m")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code in (Code.INVALID_ARGUMENT, Code.TOO_LARGE)
    assert peak < MOST_MEMORY * len(body)


OBJECTS = {
    "names": (b'{"parameters":{' + b",".join(b'"p%d":1' % i for i in range(200_000)) + b"}}", "200001 names"),
    "objects": (b'{"x":"' + b"a" * MiB + b'","y":[' + b"{}," * 200_000 + b"{}]}", "200002 objects"),
    "lists": (b'{"x":"' + b"a" * (8 * MiB) + b'","y":[' + b"[]," * 1_200_000 + b"[]]}", "1200002 lists"),
    "strings": (b"[" + b",".join([b'"abcdef"'] * 1_300_000) + b"]", "1300000 strings"),
    "values": (b"[" + b",".join([b"12345"] * 9_000_000) + b"]", "8999999 values"),
}


@pytest.mark.skipif(jsontensors is None, reason="without the native part, what stands in strings counts too")
@pytest.mark.parametrize("kind", OBJECTS)
def test_a_text_of_any_size_becomes_so_many_objects_at_most(kind):
    """Python makes objects under its lock, so their number has a bound of its own; TOO_LARGE says of what there is too much."""
    text, says = OBJECTS[kind]
    with pytest.raises(InferenceError, match=says) as caught:
        loads(text)
    assert caught.value.code is Code.TOO_LARGE


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in OTHERS])
def test_no_hostile_body_takes_many_times_its_size(name):
    """Memory at the highest point stays within a multiple of the body and the floor that JSON text has."""
    body = SHAPES[name].make(MiB)
    tracemalloc.start()
    try:
        SHAPES[name].decode(body)
    except InferenceError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.TOO_LARGE, Code.NOT_CARRIED)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_MEMORY * len(body) + EXPANSION_FLOOR


@pytest.mark.parametrize(
    ("count", "says"), [(4_000_000, "4000000 elements"), (limits.MAX_BYTES_ELEMENTS + 1, "elements")]
)
def test_empty_bytes_contents_are_counted_first(count, says):
    """Four million empty elements over gRPC are refused without one being made, whatever shape they have."""
    for shape in (4, count):
        entry = pb.ModelInferRequest.InferInputTensor(name="x", datatype="BYTES", shape=[shape]).SerializeToString()
        body = nested(b"\x2a")(entry + nested(b"\x2a")(b"\x42\0" * count))
        tracemalloc.start()
        with pytest.raises(InferenceError, match=says):
            protobuf_codec.decode_request(body)
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)
        tracemalloc.stop()


def test_large_typed_contents_mean_what_small_ones_mean():
    """Contents that are taken out before the message is parsed are the tensor that the library would have read."""
    rng = np.random.default_rng(1)
    arrays = {
        "FP32": rng.random(20_000, dtype="f4"),
        "FP64": rng.random(20_000),
        "BOOL": rng.random(40_000) < 0.5,
        "INT32": rng.integers(-9, 9, 20_000, dtype="i4"),
        "UINT64": rng.integers(0, 2**63, 20_000, dtype="u8"),
        "BYTES": np.array([b"x" * (i % 9) for i in range(20_000)], object),
    }
    tensors = [Tensor.from_array(kind, array) for kind, array in arrays.items()]
    data = protobuf_codec.encode_request(
        InferRequest("m", [*tensors, Tensor.from_array("small", np.ones(1, "f4"))]), typed=True
    )
    decoded = protobuf_codec.decode_request(data)
    assert [tensor.name for tensor in decoded.inputs] == [*arrays, "small"]
    for tensor, (kind, array) in zip(decoded.inputs, arrays.items(), strict=False):
        assert tensor.datatype.name == kind
        np.testing.assert_array_equal(tensor.array, array)


def test_the_reply_is_bounded_before_it_is_written():
    """Binary tensors take their bytes, JSON two an element, BYTES four; what must be over the limit is TOO_LARGE."""
    numbers = InferResponse("m", "1", [Tensor.from_array("y", np.zeros(1000, "f4"))])
    text = InferResponse("m", "1", [Tensor.from_array("y", np.array([b""] * 10, object))])
    assert sizes.raw_size_at_least(numbers) == sizes.reply_size(numbers, ReplyForm(True))[0] == 4000
    assert sizes.reply_size(numbers, ReplyForm()) == (2000, 4000)
    assert sizes.raw_size_at_least(text) == 40
    for response in (numbers, text):
        for form in (ReplyForm(), ReplyForm(True)):
            assert binary_codec.encode_response(response, form).size >= sizes.reply_size(response, form)[0]
        assert len(protobuf_codec.encode_response(response)) >= sizes.raw_size_at_least(response)
    sizes.check_reply(numbers, 4000, ReplyForm(True))
    with pytest.raises(InferenceError, match="MAX_MESSAGE_BYTES") as caught:
        sizes.check_reply(numbers, 3999, ReplyForm(True))
    assert caught.value.code is Code.TOO_LARGE


def test_elements_of_bytes_count_as_objects():
    """What BYTES will take beside the body: their bytes, and a hundred for each element; numbers stay where they are."""
    assert sizes.memory_needed([Tensor.from_array("x", np.zeros(10, "f4"))]) == 0
    assert (
        sizes.memory_needed([Tensor("x", Tensor.from_raw("x", "BYTES", [2], b"\0" * 8).datatype, (2,), raw=b"\0" * 8)])
        == 208
    )


@pytest.mark.skipif(jsontensors is None, reason="the native part is not built")
def test_others_run_while_a_long_text_is_read():
    """A thread that reads a long array has given up the interpreter: this one goes on counting meanwhile."""
    count = 4_000_000
    body = one(b"FP32", b"[%d]" % count) + b"[" + b",".join([b"1.25"] * count) + b"]}]}"
    reader = threading.Thread(target=json_codec.decode_request, args=(body, "m"))
    turns = 0
    reader.start()
    while reader.is_alive():
        turns += 1
        time.sleep(0)
    assert turns > 100


@pytest.mark.parametrize("kind", ["FP8", "INT4", "float8e4m3fn", "", "x" * 5000])
def test_an_unknown_datatype_names_its_tensor(kind):
    """FP8, INT4 and anything else that the protocol has no datatype for are refused with the input's name, in every codec."""
    entry = pb.ModelInferRequest.InferInputTensor(name="pixels", datatype=kind, shape=[1])
    message = pb.ModelInferRequest(inputs=[entry], raw_input_contents=[b"\0"]).SerializeToString()
    item = b'{"name":"pixels","datatype":"%b","shape":[1],%b}'
    text = b'{"inputs":[' + item + b"]}"
    data, size = text % (kind.encode(), b'"data":[1]'), text % (kind.encode(), b'"parameters":{"binary_data_size":1}')
    for decode in (
        lambda: protobuf_codec.decode_request(message),
        lambda: json_codec.decode_request(data, "m"),
        lambda: binary_codec.decode_request(size + b"\0", len(size), "m"),
    ):
        with pytest.raises(InferenceError, match=r"^tensor 'pixels' has datatype '.*'; it takes one of BOOL") as caught:
            decode()
        assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_packed_shape_is_measured_before_it_is_made():
    """A shape of five million dimensions is five megabytes, and would be five million integers."""
    entry = nested(b"\x0a")(b"x") + nested(b"\x12")(b"FP32") + nested(b"\x1a")(b"\x01" * 5_000_000)
    body = nested(b"\x0a")(b"m") + nested(b"\x2a")(entry)
    tracemalloc.start()
    with pytest.raises(InferenceError, match="more than the 64 dimensions") as caught:
        protobuf_codec.decode_request(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert peak < MiB


def test_fields_of_the_control_plane_are_counted_before_they_are_read():
    """Half a million parameters of a load are refused before there is a map of them."""
    entry = nested(b"\x1a")(nested(b"\x0a")(b"p") + nested(b"\x12")(b"\x10\x01"))
    with pytest.raises(InferenceError, match="more than 5000 fields"):
        Control("RepositoryModelLoad").decode(entry * 500_000, CallContext())


def test_names_have_a_length():
    with pytest.raises(InferenceError, match="has 1025 characters; names have 1024 at most"):
        check_model_name("a" * 1025)
    assert check_model_name("a" * 1024)


@pytest.mark.parametrize("drop", [0, 3, 20, 63])
@pytest.mark.parametrize(
    ("field", "kind"),
    [("int_contents", "i4"), ("int64_contents", "i8"), ("uint_contents", "u4"), ("uint64_contents", "u8")],
)
def test_varints_of_many_are_the_library_s(field, kind, drop):
    """Numbers of every length, negative ones too, are written as protobuf writes them and read as it reads them."""
    dtype = np.dtype(kind)
    numbers = np.random.default_rng(drop).integers(
        np.iinfo(dtype).min, np.iinfo(dtype).max, 300_000, dtype, endpoint=True
    ) >> min(drop, dtype.itemsize * 8 - 1)
    contents = pb.InferTensorContents()
    getattr(contents, field).extend(numbers.tolist())
    packed = b"".join(varints.encode(numbers))
    assert contents.SerializeToString().endswith(packed)
    read = np.frombuffer(packed, np.uint8)
    assert varints.count(read) == len(numbers)
    np.testing.assert_array_equal(varints.decode(read, dtype), numbers)


@pytest.mark.parametrize("text", [b"\x80" * 40, b"\x80" * 11 + b"\1", b"\1\2\x80"])
def test_bytes_that_are_no_varints(text):
    """The library says what is wrong with them."""
    assert varints.decode(np.frombuffer(text, np.uint8), np.dtype("i8")) is None


def test_typed_replies_are_bounded_before_they_are_written():
    """An integer is a byte at least, a float its size, an element of BYTES two."""
    arrays = [np.zeros(1000, "u8"), np.zeros(10, "f4"), np.array([b""] * 10, object), np.zeros(5, bool)]
    response = InferResponse("m", "1", [Tensor.from_array("y", array) for array in arrays])
    assert sizes.typed_size_at_least(response) == 1000 + 40 + 20 + 5
    assert len(protobuf_codec.encode_response(response, typed=True)) >= sizes.typed_size_at_least(response)
