"""Templates that are known are a shortcut and nothing else: every message means what the library says it means."""

from __future__ import annotations

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.bounded_cache import MOST_ENTRIES
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.protobuf import templates
from crossover.protocol.codecs.protobuf.parameters import parameters_of
from crossover.protocol.errors import InferenceError
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb

NAMES = st.sampled_from(["x", "y", "input 0", "ä"])
COUNTS = st.integers(0, 4)


@st.composite
def messages(draw, kind):
    """Few names and sizes, so that heads and lengths come again with small differences."""
    tensors = [
        Tensor.from_array(draw(NAMES), np.arange(draw(COUNTS), dtype=draw(st.sampled_from(["f4", "i8", "u1"]))))
        for _ in range(draw(st.integers(0, 2)))
    ]
    message = kind(draw(NAMES), tensors) if kind is InferRequest else kind(draw(NAMES), "1", tensors)
    message.id = draw(st.sampled_from(["", "", "a", "bb"]))
    message.parameters = draw(st.sampled_from([{}, {}, {"p": 1}, {"q": "x"}]))
    return message


@given(st.lists(messages(InferRequest), min_size=1, max_size=6))
def test_requests_stay_what_they_are(sent):
    for request in sent:
        data = protobuf_codec.encode_request(request)
        library = pb.ModelInferRequest.FromString(data)
        assert (library.model_name, library.id) == (request.model_name, request.id)
        assert list(library.raw_input_contents) == [bytes(t.raw) for t in request.inputs]
        for _ in range(2):
            check(protobuf_codec.decode_request(data), request, "inputs")


@given(st.lists(messages(InferResponse), min_size=1, max_size=6))
def test_responses_stay_what_they_are(sent):
    for response in sent:
        data = protobuf_codec.encode_response(response)
        for _ in range(2):
            check(protobuf_codec.decode_response(data), response, "outputs")


def check(found, expected, tensors):
    assert (found.model_name, found.model_version, found.id) == (
        expected.model_name, expected.model_version, expected.id,
    )  # fmt: skip
    assert found.parameters == expected.parameters
    assert [(t.name, t.datatype, t.shape, bytes(t.raw)) for t in getattr(found, tensors)] == [
        (t.name, t.datatype, t.shape, bytes(t.raw)) for t in getattr(expected, tensors)
    ]


def test_what_a_caller_changes_stays_its_own():
    """Parameters that one reader takes out are there for the next one."""
    data = protobuf_codec.encode_request(
        InferRequest("m", [Tensor.from_array("x", np.ones(3, "f4"))], parameters={"p": 1})
    )
    for _ in range(3):
        assert protobuf_codec.decode_request(data).parameters.pop("p") == 1


def test_models_in_turn_do_not_push_each_other_out():
    """Sixty-four models whose messages are equally long are all known."""
    heads = templates.DecodedTemplates[int](b"\x3a")
    values = np.ones(5, "f4").tobytes()
    sent = [
        protobuf_codec.encode_request(InferRequest(f"model-{number:02}", [Tensor.from_array("x", np.ones(5, "f4"))]))
        for number in range(64)
    ]
    for number, data in enumerate(sent):
        heads.learn(data, len(values), number)
    assert [heads.find(data) for data in sent] == [(number, values) for number in range(64)]


def test_typed_contents_are_never_taken_for_raw_ones():
    """A typed message may end in bytes that look like a raw field."""
    request = InferRequest("m", [Tensor.from_array("x", np.arange(4, dtype="f8"))])
    data = protobuf_codec.encode_request(request, typed=True)
    for _ in range(2):
        assert protobuf_codec.decode_request(data).inputs[0].array.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("heads", [templates.DecodedTemplates(b"\x3a"), templates.EncodedTemplates()])
def test_what_is_kept_is_bounded(heads):
    for size in range(3 * MOST_ENTRIES):
        if isinstance(heads, templates.EncodedTemplates):
            heads.keep((size,), b"head", 0)
        else:
            heads.learn(b"\x0a\x01m\x3a\x04" + b"1234" + b"", 4, size)
            heads.learn(b"\x0a\x01m" + b"x" * size + b"\x3a\x04" + b"1234", 4, size)
    assert len(heads) <= MOST_ENTRIES


REST = pb.ModelInferRequest(model_name="m", raw_input_contents=[bytes(4)])
REST.inputs.add(name="x", datatype="FP32", shape=[1])
AGAIN = pb.ModelInferRequest(id="later", model_name="m", raw_input_contents=[bytes(4)])
AGAIN.inputs.add(name="x", datatype="FP32", shape=[1])
AGAIN.parameters["p"].string_param = "last"
P = b'"\x09\x0a\x01p\x12\x04\x1a\x02of'
FRONTS = {
    "an id": b"\x1a\x02ab",
    "an empty id": b"\x1a\x00",
    "two ids": b"\x1a\x01a\x1a\x01b",
    "an id that is no text": b"\x1a\x02\xff\xfe",
    "a long id": b"\x1a\xc8\x01" + b"i" * 200,
    "a parameter": P,
    "a parameter before the id": P + b"\x1a\x01a",
    "one parameter twice": b"\x1a\x01a" + P + P.replace(b"of", b"on"),
    "a parameter without a value": b'\x1a\x01a"\x03\x0a\x01p',
    "a parameter that is none": b'\x1a\x01a"\x03\xff\xff\xff',
    "many parameters": b"\x1a\x01a" + b"".join(b'"\x09\x0a\x02%02d\x12\x03\x10\x96\x01' % i for i in range(99)),
}


@pytest.mark.parametrize("rest", [REST, AGAIN], ids=["what differs stands in front", "and behind once more"])
@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_what_stands_in_front_means_what_the_library_says(front, rest):
    data = front + rest.SerializeToString()
    try:
        library = pb.ModelInferRequest.FromString(data)
    except DecodeError:
        with pytest.raises(InferenceError, match="can't be decoded"):
            protobuf_codec.decode_request(data)
        return
    for _ in range(2):
        request = protobuf_codec.decode_request(data)
        assert (request.model_name, request.id, request.inputs[0].name) == ("m", library.id, "x")
        assert request.parameters == parameters_of(library.parameters)


@pytest.mark.parametrize("data", [b"\x1a", b"\x1a\x05ab", b'\x1a\x01a"', b'\x1a\x01a"\x05\x0a', b'"\x7f'])
def test_a_front_that_is_cut_is_refused(data):
    with pytest.raises(InferenceError, match="can't be decoded"):
        protobuf_codec.decode_request(data)


def test_equal_parameters_of_other_types_stay_apart():
    """True, 1 and 1.0 are equal in Python, and so are 0.0 and -0.0."""
    for value in (True, 1, 1.0, 0.0, -0.0):
        request = InferRequest("m", [Tensor.from_array("x", np.zeros(1, "f4"))], parameters={"p": value})
        (found,) = protobuf_codec.decode_request(protobuf_codec.encode_request(request)).parameters.values()
        assert (type(found), str(found)) == (type(value), str(value))


def test_parameters_are_each_requests_own():
    """A caller that changes them changes no other message's."""
    data = b"\x1a\x01a" + P + REST.SerializeToString()
    protobuf_codec.decode_request(data).parameters["q"] = 1
    assert protobuf_codec.decode_request(data).parameters == {"p": "of"}
