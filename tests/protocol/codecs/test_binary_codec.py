"""The binary tensor data extension without a socket."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import InferenceError
from crossover.protocol.messages import InferRequest, InferResponse, RequestedOutput
from crossover.protocol.tensors import COPIED_BYTES, Tensor

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
parameters = st.dictionaries(
    names,
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    max_size=3,
)


@st.composite
def tensors(draw):
    row = draw(st.sampled_from(list(DATATYPES.values())))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    if row.kind == "bytes":
        array = np.empty(math.prod(shape), object)
        array[:] = draw(st.lists(st.binary(max_size=5), min_size=array.size, max_size=array.size))
        return Tensor(draw(names), row, shape, array=array.reshape(shape))
    raw = draw(st.binary(min_size=math.prod(shape) * row.itemsize, max_size=math.prod(shape) * row.itemsize))
    return Tensor.from_raw(draw(names), row.name, shape, raw)


def described(tensor: Tensor) -> tuple:
    return tensor.name, tensor.datatype.name, tensor.shape, bytes(tensor.raw)


@given(st.lists(tensors(), max_size=4), names, parameters, st.lists(names, max_size=2))
def test_requests_come_back_bit_for_bit(inputs, request_id, given_parameters, outputs):
    """Every datatype, every bit pattern, names and parameters; the form of the reply is binary."""
    for reserved in ("binary_data_output", "shared_memory_region", "classification"):
        given_parameters.pop(reserved, None)
    request = InferRequest("m", inputs, "3", request_id, [RequestedOutput(name) for name in outputs], given_parameters)
    encoded = binary_codec.encode_request(request)
    body = b"".join(encoded.parts)
    assert encoded.size == len(body)
    decoded, form = binary_codec.decode_request(body, encoded.header_length, "m", "3")
    assert [described(tensor) for tensor in decoded.inputs] == [described(tensor) for tensor in inputs]
    assert (decoded.id, decoded.outputs, decoded.parameters) == (request.id, request.outputs, request.parameters)
    assert form == ReplyForm(default=True)


@given(st.lists(tensors(), min_size=1, max_size=3), parameters, st.data())
def test_a_head_that_comes_again_is_the_same_head(inputs, given_parameters, data):
    """What is known of a head changes nothing: other bytes behind it come back, and one too few or many is refused."""
    given_parameters.pop("binary_data_output", None)
    first = InferRequest("m", inputs, parameters=given_parameters)
    again = InferRequest("m", [_with_other_bytes(tensor, data) for tensor in inputs], parameters=given_parameters)
    _through(first)
    encoded = _through(again)
    binary_codec._ENCODED.clear()
    assert binary_codec.encode_request(again).parts == encoded.parts
    body = b"".join(encoded.parts)
    for broken in (body + b"x", body[:-1]):
        if encoded.header_length is not None and len(broken) != encoded.header_length:
            with pytest.raises(InferenceError):
                binary_codec.decode_request(broken, encoded.header_length, "m")


def _through(request):
    encoded = binary_codec.encode_request(request)
    decoded, form = binary_codec.decode_request(b"".join(encoded.parts), encoded.header_length, "m")
    assert [described(tensor) for tensor in decoded.inputs] == [described(tensor) for tensor in request.inputs]
    assert decoded.parameters == request.parameters
    assert form == ReplyForm(default=True)
    return encoded


def _with_other_bytes(tensor, data):
    if tensor.datatype.kind == "bytes":
        return tensor
    size = len(tensor.raw)
    return Tensor.from_raw(
        tensor.name, tensor.datatype.name, tensor.shape, data.draw(st.binary(min_size=size, max_size=size))
    )


def test_parameters_that_are_equal_and_not_the_same_make_two_heads():
    """True, 1 and 1.0 are equal in Python, and so are 0.0 and -0.0; in JSON they are not."""
    tensor = Tensor.from_array("x", np.zeros(1, np.float32))
    heads = {
        bytes(binary_codec.encode_request(InferRequest("m", [tensor], parameters={"p": value})).parts[0])
        for value in (True, 1, 1.0, 0.0, -0.0)
    }
    assert len(heads) == 5


@given(st.lists(tensors(), max_size=4), st.booleans(), st.data())
def test_replies_come_back_in_any_mix_of_forms(outputs, default, data):
    """Each output goes as JSON or binary as asked; the header is there only when binary bytes follow."""
    named = {tensor.name: data.draw(st.booleans()) for tensor in outputs if data.draw(st.booleans())}
    form = ReplyForm(default, named)
    response = InferResponse("m", "1", outputs, "id")
    try:
        encoded = binary_codec.encode_response(response, form)
    except InferenceError as error:
        assert error.code.name == "NOT_CARRIED"
        assert any(not form.binary(tensor.name) for tensor in outputs)
        return
    binary_bytes = sum(len(tensor.raw) for tensor in outputs if form.binary(tensor.name))
    assert (encoded.header_length is None) == (binary_bytes == 0)
    body = b"".join(encoded.parts)
    decoded = binary_codec.decode_response(body, encoded.header_length)
    for sent, received in zip(outputs, decoded.outputs, strict=True):
        if form.binary(sent.name):
            assert described(received) == described(sent)
        else:
            assert received.shape == sent.shape


@given(st.lists(tensors(), min_size=1, max_size=3), st.data())
def test_a_body_cut_anywhere_is_refused(inputs, data):
    """No prefix of a binary request is taken for a whole one."""
    encoded = binary_codec.encode_request(InferRequest("m", inputs))
    body = b"".join(encoded.parts)
    cut = data.draw(st.integers(0, len(body) - 1))

    def decode_cut() -> None:
        length = binary_codec.header_length(str(encoded.header_length or len(body)), cut)
        binary_codec.decode_request(body[:cut], length, "m")

    with pytest.raises(InferenceError):
        decode_cut()


def test_tensors_are_views_on_the_body():
    """No element is copied on the way in, and on the way out only those of small tensors, whose copy is cheaper than a view."""
    array = np.arange(COPIED_BYTES // 4 + 1, dtype=np.float32)
    encoded = binary_codec.encode_request(InferRequest("m", [Tensor.from_array("x", array)]))
    assert np.shares_memory(np.frombuffer(encoded.parts[1], np.uint8), array)
    body = b"".join(encoded.parts)
    request, _ = binary_codec.decode_request(body, encoded.header_length, "m")
    assert np.shares_memory(request.inputs[0].array, np.frombuffer(body, np.uint8))


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_a_request_or_an_invalid_argument(body, length):
    """Whatever a body holds, decoding raises InferenceError and nothing else."""
    try:
        binary_codec.decode_request(body, min(length, len(body)), "m")
    except InferenceError as error:
        assert error.code.name in ("INVALID_ARGUMENT", "NOT_CARRIED")


@pytest.mark.parametrize(("shape", "size", "expected"), [([-1, 4], 32, (2, 4)), ([3], 12, (3,)), ([2, -1, 2], 16,
 (2, 1, 2)),
                                                         ([-1, 4], 0, (0, 4)), ([], 4, ())])  # fmt: skip
def test_raw_requests_find_their_shape(shape, size, expected):
    """The one variable dimension follows from the size of the body."""
    inputs = [SimpleNamespace(name="x", datatype="FP32", shape=shape)]
    request, form = binary_codec.decode_raw_request(bytes(size), inputs, "m")
    assert request.inputs[0].shape == expected
    assert form.binary("anything")


@pytest.mark.parametrize(("shape", "size"), [([-1, -1], 8), ([-1, 4], 20), ([3], 8), ([-1, 0], 4)])
def test_raw_requests_without_a_shape_are_refused(shape, size):
    """Two variable dimensions, half rows, wrong sizes."""
    with pytest.raises(InferenceError):
        binary_codec.decode_raw_request(bytes(size), [SimpleNamespace(name="x", datatype="FP32", shape=shape)], "m")


def test_json_replies_have_parameters_only_with_a_size():
    """The C++ client fails on an output's `parameters` without binary_data_size, and takes len(data) as the count."""
    response = InferResponse("m", "1", [Tensor.from_array("y", np.zeros((2, 2), np.float32))])
    assert json_codec.encode_response(response) == (
        b'{"model_name":"m","model_version":"1","outputs":'
        b'[{"name":"y","datatype":"FP32","shape":[2,2],"data":[0.0,0.0,0.0,0.0]}]}'
    )
