"""The native reader of elements changes no answer: with and without it a text means the same, or is refused the same."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json import elements as json_elements
from crossover.protocol.codecs.json import unread
from crossover.protocol.errors import InferenceError

pytestmark = pytest.mark.skipif(json_elements.jsontensors is None, reason="the native part is not built")

numbers = (
    st.floats()
    | st.integers(-(2**65), 2**65)
    | st.sampled_from([0, 1, -0.0, 1e-400, 1e39, 0.1, 2**53 + 1, None, True, "1"])
)
datatypes = st.sampled_from(["FP32", "FP64", "INT8", "INT32", "INT64", "UINT8", "UINT64", "BOOL", "FP16", "BYTES"])
shapes = st.lists(st.integers(0, 12), max_size=3)


@st.composite
def tensors(draw):
    """Tensors that mostly fit, with long arrays, one-element arrays that look like placeholders, and nonsense."""
    shape = draw(shapes)
    count = int(np.prod(shape))
    element = draw(
        st.sampled_from(
            [numbers, st.integers(0, 100), st.floats(-1e6, 1e6), st.text('a"\\ü漢\n[]', max_size=9), st.booleans()]
        )
    )
    flat = draw(st.lists(element, min_size=count, max_size=count)) if count < 40 else [draw(element)] * count
    data = draw(
        st.sampled_from(
            [flat, np.array(flat, object).reshape(shape).tolist(), [[draw(st.integers(0, 3))]], flat[:-1], [flat]]
        )
    )
    item = {"name": draw(st.sampled_from("xy")), "datatype": draw(datatypes), "shape": shape, "data": data}
    if draw(st.integers(0, 9)) == 0:
        item["unknown"] = {"data": [0.123456789012345, 1.5]}
    return item


@st.composite
def documents(draw):
    document = {"inputs": draw(st.lists(tensors(), max_size=4))}
    if draw(st.booleans()):
        document["model_name"] = draw(st.sampled_from(["m", {"data": [0.123456789012345, 1.5]}, 5]))
    for key in ("id", "parameters", "outputs", "zzz"):
        if draw(st.integers(0, 9)) == 0:
            document[key] = draw(
                st.sampled_from(["text", [{"name": "y", "data": [1.23456789012345678, 2]}], {"data": 1}])
            )
    return draw(st.permutations(list(document.items())).map(dict))


def outcome(text: bytes):
    try:
        request, form = json_codec.decode_request(text, "m")
    except InferenceError as error:
        return error.code, error.message
    inputs = [
        (tensor.name, tensor.shape, tensor.array.dtype, tensor.array.tobytes() if tensor.array.dtype != object else
         tensor.array.tolist()) for tensor in request.inputs
    ]  # fmt: skip
    return inputs, request.id, request.parameters, request.outputs, form


def in_all_ways(text: bytes, monkeypatch):
    """Read in Python, with the native reader, as a long text, and as a long text out of which nothing is taken."""
    with monkeypatch.context() as patch:
        patch.setattr(json_elements, "jsontensors", None)
        yield outcome(text)
    yield outcome(text)
    with monkeypatch.context() as patch:
        patch.setattr(unread, "LONG_BYTES", 0)
        patch.setattr(unread, "PIECE_BYTES", 16)
        yield outcome(text)
        patch.setattr(json_codec, "split", lambda text: (text, None))
        yield outcome(text)


LONG = [0.1234567890123456789]


@given(documents(), st.sampled_from([None, 1]))
@example(
    {
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [[0]]},
            {"name": "y", "datatype": "FP64", "shape": [1, 1], "data": [LONG]},
        ]
    },
    None,
)
@example(
    {
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [LONG]},
            {"name": "y", "datatype": "FP64", "shape": [1, 1], "data": [[0]]},
        ]
    },
    None,
)
@example(
    {
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [[1]]},
            {"name": "y", "datatype": "FP64", "shape": [1, 1], "data": [LONG]},
        ]
    },
    None,
)
@example(
    {"model_name": {"data": LONG}, "inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [[0]]}]}, None
)
@example(
    {
        "outputs": [{"name": "y", "data": LONG}],
        "inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [[0]]}],
    },
    None,
)
@example({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1e39, 1.5, 2.25]}]}, None)
@example({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2**38], "data": [1e30, 1.5, 2.25]}]}, None)
def test_the_native_reader_changes_no_answer(document, indent):
    """Arrays, errors and everything beside them are the same, whatever looks like a placeholder."""
    text = json.dumps(document, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_elements, "SMALLEST_TEXT", 0)
        python, *others = in_all_ways(text, patch)
    assert others == [python] * 3


def test_the_native_reader_is_used():
    """A plain request of some length takes the fast way, nested or flat; replies do so too."""
    calls = []
    read = json_elements.jsontensors.read

    class Spy:
        split = json_elements.jsontensors.split

        @staticmethod
        def read(*arguments):
            calls.append(arguments)
            return read(*arguments)

    array = np.arange(128, dtype=np.float32).reshape(2, 64) / 7
    item = {"name": "x", "datatype": "FP32", "shape": [2, 64]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_elements, "jsontensors", Spy)
        for data in (array.tolist(), array.ravel().tolist()):
            request, _ = json_codec.decode_request(json.dumps({"inputs": [{**item, "data": data}]}).encode(), "m")
            np.testing.assert_array_equal(request.inputs[0].array, array)
        reply = {"model_name": "m", "outputs": [{**item, "data": array.tolist()}]}
        np.testing.assert_array_equal(json_codec.decode_response(json.dumps(reply).encode()).outputs[0].array, array)
    assert len(calls) == 3
