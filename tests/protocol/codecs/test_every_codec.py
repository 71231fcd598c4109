"""One suite for every codec of the registry: one meaning comes back from each, and any bytes are a message or an error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossover.protocol.codecs.codec import Codec
from crossover.protocol.codecs.registry import CODECS, JSON, codec_for
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.messages import InferRequest, InferResponse, RequestedOutput
from crossover.protocol.tensors import Tensor

FUZZ = settings(suppress_health_check=list(HealthCheck))
every_codec = pytest.mark.parametrize("line", CODECS.values(), ids=lambda line: line.name)
texts = st.text("aüx한 \"\\/\n%'", max_size=6)
names = texts.filter(bool)
parameters = st.dictionaries(
    st.sampled_from(["p", "sequence_id", "ü"]),
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts | st.floats(allow_nan=False, allow_infinity=False),
    max_size=2,
)


@st.composite
def tensors(draw):
    """A tensor of any datatype and a small shape, with every kind of value in it."""
    row = DATATYPES[draw(st.sampled_from(list(DATATYPES)))]
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    count = int(np.prod(shape))
    if row.kind == "bytes":
        elements = draw(st.lists(texts.map(str.encode), min_size=count, max_size=count))
        array = np.empty(count, object)
        array[:] = elements
    elif row.kind == "float":
        values = st.floats(width=32) | st.sampled_from([np.inf, -np.inf, np.nan, -0.0])
        with np.errstate(over="ignore"):
            array = np.array(draw(st.lists(values, min_size=count, max_size=count)), "f8").astype(row.dtype)
    else:
        array = np.array(draw(st.lists(st.integers(row.low, row.high or 1), min_size=count, max_size=count)), row.dtype)
    return Tensor.from_array(draw(names), array.reshape(shape), row)


requests = st.builds(
    InferRequest,
    st.just("m"),
    st.lists(tensors(), max_size=3),
    st.sampled_from(["", "3"]),
    texts,
    st.lists(st.builds(RequestedOutput, names, st.just({})), max_size=2),
    parameters,
)
responses = st.builds(
    InferResponse, st.just("m"), st.just("7"), st.lists(tensors(), min_size=1, max_size=3), texts, parameters
)


def carried(line, items) -> bool:
    return all(tensor.datatype.name in line.carries for tensor in items)


def same(left: list[Tensor], right: list[Tensor]) -> None:
    assert [(t.name, t.datatype.name, t.shape) for t in left] == [(t.name, t.datatype.name, t.shape) for t in right]
    for one, other in zip(left, right, strict=True):
        if one.datatype.kind == "float":
            np.testing.assert_array_equal(one.array.astype("f8"), other.array.astype("f8"))
        else:
            assert bytes(one.raw) == bytes(other.raw)


def whole(encoded) -> bytes:
    return b"".join(encoded.parts)


@every_codec
@FUZZ
@given(request=requests)
def test_a_request_means_the_same_in_every_codec(line, request):
    """What one codec writes it reads as it was; a datatype that it has no form for is NOT_CARRIED."""
    codec = line.load()
    if not carried(line, request.inputs):
        with pytest.raises(InferenceError) as caught:
            codec.encode_request(request)
        assert caught.value.code is Code.NOT_CARRIED
        return
    encoded = codec.encode_request(request)
    framing = codec.framing(dict(encoded.headers).get("inference-header-content-length"), encoded.size)
    decoded, _ = codec.decode_request(whole(encoded), framing, "m", request.model_version)
    same(decoded.inputs, request.inputs)
    assert (decoded.model_name, decoded.model_version, decoded.id) == ("m", request.model_version, request.id)
    assert {name: value for name, value in decoded.parameters.items() if name != "typed_outputs"} == request.parameters
    assert [output.name for output in decoded.outputs] == [output.name for output in request.outputs]


@every_codec
@FUZZ
@given(response=responses, binary=st.booleans())
def test_a_reply_means_the_same_in_every_codec(line, response, binary):
    """Replies come back as they were, in the form asked for where the codec has several."""
    codec, form = line.load(), ReplyForm(default=binary)
    try:
        encoded = codec.encode_response(response, form)
    except InferenceError as error:
        assert error.code is Code.NOT_CARRIED
        assert not carried(JSON, response.outputs)
        return
    decoded = codec.decode_response(whole(encoded), dict(encoded.headers).get("inference-header-content-length"))
    same(decoded.outputs, response.outputs)
    assert (decoded.id, decoded.parameters) == (response.id, response.parameters)


def outcome(codec: Codec, body: bytes, framing: int | None) -> None:
    """Decode as a request and as a reply; whatever comes out has elements that can be read, or is an InferenceError."""
    for decode in (
        lambda: codec.decode_request(body, framing, "m")[0].inputs,
        lambda: codec.decode_response(body, None if framing is None else str(framing)).outputs,
    ):
        try:
            for tensor in decode():
                assert tensor.array.shape == tensor.shape
        except InferenceError as error:
            assert error.code in (Code.INVALID_ARGUMENT, Code.NOT_CARRIED, Code.TOO_LARGE)
            assert "Traceback" not in error.message


KEYS = [b'"inputs"', b'"outputs"', b'"name"', b'"datatype"', b'"shape"', b'"data"', b'"parameters"', b'"id"',
        b'"binary_data_size"', b'"model_name"', b'"x"', b'"FP32"', b'"BYTES"', b'"INT64"', b'"BOOL"']  # fmt: skip
PIECES = [*KEYS, b"{", b"}", b"[", b"]", b":", b",", b"1", b"-1", b"1e999", b"NaN", b"null", b"true", b'"\\ud800"', b'"', b" ",
          b"0.1234567890123456789", b"18446744073709551616", b"\xff", b"\\", b"[[0]]", b"[1.25,2.5,3.75,4.5]",
          b'["a","bbbbbbbbbbbb"]']  # fmt: skip
JSON_SOUP = st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join)
PROTOBUF_SOUP = st.lists(
    st.tuples(st.sampled_from([0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42, 0x08, 0x78]), st.binary(max_size=12)),
    max_size=20,
).map(lambda fields: b"".join(bytes([tag, len(content)]) + content for tag, content in fields))


@every_codec
@FUZZ
@given(body=st.binary(max_size=300) | JSON_SOUP | PROTOBUF_SOUP, framing=st.none() | st.integers(0, 60))
def test_any_bytes_are_a_message_or_an_error(line, body, framing):
    """No body of any shape raises anything but an InferenceError."""
    outcome(line.load(), body, framing if framing is None or framing <= len(body) else None)


@every_codec
@FUZZ
@given(request=requests, data=st.data())
def test_a_damaged_message_is_a_message_or_an_error(line, request, data):
    """Messages with bytes changed, taken out or put in are read or refused."""
    if not carried(line, request.inputs):
        return
    codec = line.load()
    encoded = codec.encode_request(request)
    body = bytearray(whole(encoded))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    outcome(codec, bytes(body), encoded.header_length if (encoded.header_length or 0) <= len(body) else None)


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        (None, "json"),
        ("", "json"),
        ("application/json", "json"),
        ("application/octet-stream", "json"),
        ("application/x-www-form-urlencoded", "json"),
        ("application/x-protobuf", "protobuf"),
        ("Application/X-Protobuf; proto=inference.ModelInferRequest", "protobuf"),
    ],
)
def test_the_type_of_a_body_names_its_codec(content_type, name):
    """A type that no codec has is OIP's, whose clients send any or none."""
    assert codec_for(content_type) is CODECS[name].load()


@every_codec
def test_the_registry_tells_the_truth(line):
    """A line's media type is its codec's own, and every datatype that it carries has a form."""
    codec = line.load()
    assert codec.media_type == line.media_type
    for name, row in DATATYPES.items():
        tensor = Tensor.from_array(
            "x", np.zeros((1,), row.dtype) if name != "BYTES" else np.array([b"\xff"], object), row
        )
        try:
            codec.encode_request(InferRequest("m", [tensor]))
            carried = True
        except InferenceError:
            carried = False
        assert carried == (name in line.carries and not (name == "BYTES" and line.bytes_as_text))
