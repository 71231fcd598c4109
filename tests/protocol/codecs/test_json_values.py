"""JSON arrays to tensor elements and back."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json.text import loads
from crossover.protocol.codecs.json.values import LONG_ELEMENTS, PIECE_ELEMENTS, to_array, to_text
from crossover.protocol.datatypes import DATATYPES, datatype
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.tensors import Tensor

NUMBERS = [row for row in DATATYPES.values() if row.json and row.kind != "bytes"]
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def tensors(draw):
    row = draw(st.sampled_from([row for row in DATATYPES.values() if row.json]))
    shape = draw(shapes)
    if row.kind == "bytes":
        texts = draw(st.lists(st.text(), min_size=math.prod(shape), max_size=math.prod(shape)))
        array = np.empty(len(texts), object)
        array[:] = [item.encode("utf-8", "ignore") for item in texts]
        return Tensor("x", row, shape, array=array.reshape(shape))
    return Tensor("x", row, shape, array=draw(hnp.arrays(row.dtype, shape)))


def same(left: np.ndarray, right: np.ndarray) -> bool:
    if left.dtype == object:
        return left.tolist() == right.tolist()
    return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=left.dtype.kind == "f")


@given(tensors())
def test_every_tensor_that_json_carries_comes_back(tensor):
    """Flat and exact, for all values of all datatypes: 64-bit integers, shortest floats, infinities, NaN as null."""
    text = to_text(tensor)
    assert same(to_array("x", tensor.datatype, tensor.shape, loads(text)), tensor.array)


@given(tensors())
def test_replies_mean_the_same_to_the_standard_library(tensor):
    """json reads our text as the same numbers; NaN is null, the infinities are its own literals."""
    values = json.loads(to_text(tensor))
    expected = [
        None if isinstance(item, float) and math.isnan(item) else item for item in tensor.array.ravel().tolist()
    ]
    if tensor.datatype.kind == "bytes":
        expected = [item.decode() for item in expected]
    if tensor.datatype.name == "FP32":
        values = [None if item is None else float(np.float32(item)) for item in values]
    assert values == expected


@given(tensors())
def test_nested_data_means_the_same_as_flat_data(tensor):
    """Nesting exactly as the shape says is accepted for every shape."""
    if tensor.datatype.kind == "bytes":
        nested = (
            np.array([item.decode() for item in tensor.array.ravel().tolist()], object).reshape(tensor.shape).tolist()
        )
    else:
        nested = tensor.array.tolist()
    assert same(to_array("x", tensor.datatype, tensor.shape, nested), tensor.array)


@given(tensors(), st.data())
def test_another_nesting_or_count_is_refused(tensor, data):
    """What is nested for another shape, or has another count, is INVALID_ARGUMENT."""
    other = data.draw(shapes)
    nested = np.zeros(other).tolist()
    flat_fits = len(other) == 1 and other[0] == math.prod(tensor.shape)
    hollow = nested == [] and math.prod(tensor.shape) == 0
    scalar = other == () and tensor.shape == ()
    if other == tensor.shape or flat_fits or hollow or scalar:
        return
    if 0 in other and 0 in tensor.shape:
        return  # nested empty lists may agree as far as they go
    with pytest.raises(InferenceError) as caught:
        to_array("x", datatype("FP64"), tensor.shape, nested)
    assert caught.value.code is Code.INVALID_ARGUMENT


@given(st.sampled_from(NUMBERS), st.lists(st.integers(-(2**64), 2**65), min_size=1, max_size=5))
def test_integers_are_exact_or_refused(row, values):
    """An integer that the datatype holds arrives exactly, any other is refused: nothing wraps."""
    fits = row.kind == "float" or (row.kind == "int" and all(row.low <= value <= row.high for value in values))
    if not fits:
        with pytest.raises(InferenceError, match="element"):
            to_array("x", row, (len(values),), values)
        return
    array = to_array("x", row, (len(values),), values)
    assert array.tolist() == [row.dtype.type(value).item() for value in values]


@given(st.lists(st.floats(width=64), min_size=1, max_size=5))
def test_finite_numbers_never_become_infinite(values):
    """FP32 refuses a finite number that it cannot hold, and keeps infinities."""
    with np.errstate(over="ignore"):
        narrow = np.array(values, np.float32)
    lost = np.isinf(narrow) & np.isfinite(values)
    if lost.any():
        with pytest.raises(InferenceError, match="FP32 holds"):
            to_array("x", datatype("FP32"), (len(values),), values)
    else:
        assert same(to_array("x", datatype("FP32"), (len(values),), values), narrow)


def test_null_is_nan_for_floats_only():
    """null is how kserve sends NaN."""
    assert np.isnan(to_array("x", datatype("FP64"), (2,), [None, 1])).tolist() == [True, False]
    for name in ("INT32", "BOOL", "BYTES", "UINT64"):
        with pytest.raises(InferenceError, match="element 0 of tensor 'x' is null"):
            to_array("x", datatype(name), (1,), [None])


@pytest.mark.parametrize("name", ["FP16", "BF16"])
def test_half_floats_have_no_json_form(name):
    """NOT_CARRIED in both directions, with the way out in the text."""
    tensor = Tensor.from_array("x", np.zeros(2), datatype(name))
    for refused in (lambda: to_text(tensor), lambda: to_array("x", datatype(name), (2,), [0, 0])):
        with pytest.raises(InferenceError, match="binary") as caught:
            refused()
        assert caught.value.code is Code.NOT_CARRIED


@pytest.mark.parametrize("size", [LONG_ELEMENTS - 1, LONG_ELEMENTS, LONG_ELEMENTS + 1])
def test_long_tensors_are_written_as_short_ones_are(size):
    """Written in pieces or not, the text is the same, with the infinities and NaN in their places."""
    array = np.arange(size, dtype=np.float32)
    array[[0, 1, PIECE_ELEMENTS, -1]] = np.nan, np.inf, -np.inf, np.inf
    elements = to_text(Tensor.from_array("x", array))[1:-1].split(b",")
    assert len(elements) == size
    assert [elements[at] for at in (0, 1, 2, PIECE_ELEMENTS, -1)] == [
        b"null",
        b"Infinity",
        b"2.0",
        b"-Infinity",
        b"Infinity",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"inputs": [{"name": 5}]}', "'name' of 'inputs[0]' is an integer; it takes a string, not empty"),
        ('{"inputs": [{"name": ""}]}', "'name' of 'inputs[0]' is empty; it takes a string, not empty"),
        ('{"inputs": [{"name": null}]}', "'inputs[0]' has no 'name'; it takes a string, not empty"),
        ('{"inputs": [{"name": "x", "datatype": []}]}', "'datatype' of tensor 'x' is an array; it takes a string such as FP32"),
        ('{"inputs": [{"name": "x", "datatype": "FP32", "shape": 2}]}',
         "'shape' of tensor 'x' is an integer; it takes an array of integers, 0 or more"),
        ('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [true]}]}',
         "shape of 'x' holds true; each dimension is an integer, 0 or more"),
        ('{"inputs": [{"name": "x", "datatype": "FP32", "shape": ["1"]}]}',
         "shape of 'x' holds '1'; each dimension is an integer, 0 or more"),
        ('{"inputs": [], "outputs": ["y"]}', "'outputs[0]' is a string; it takes an object with a 'name'"),
        ('{"inputs": [], "outputs": [{"name": {}}]}', "'name' of 'outputs[0]' is an object; it takes a string, not empty"),
        ('{"inputs": [], "parameters": {"binary_data_output": 1}}', "parameter binary_data_output is 1; it takes true or false"),
        ('{"inputs": []}\udcff',
         "the JSON text is not UTF-8; where binary data follows it, header Inference-Header-Content-Length says where it begins"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_the_words_of_json(text, said):
    """What is missing has no place, what is of another kind is said to be that, and values stand as JSON has them."""
    with pytest.raises(InferenceError) as caught:
        json_codec.decode_request(text.encode("utf-8", "surrogateescape"), "m")
    assert caught.value.message == said
