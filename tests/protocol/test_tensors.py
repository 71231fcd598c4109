"""A tensor's array and raw forms are the same elements."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossover.protocol.datatypes import DATATYPES, datatype, of_array
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.tensors import Tensor, checked_shape, decode_bytes, encode_bytes

FIXED = [row for row in DATATYPES.values() if row.kind != "bytes"]


@pytest.mark.parametrize("row", FIXED, ids=lambda row: row.name)
@given(data=st.data())
def test_raw_bytes_give_the_same_array(row, data):
    """Every fixed-size datatype survives array -> raw -> array bit for bit."""
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    raw = data.draw(st.binary(min_size=(n := int(np.prod(shape)) * row.itemsize), max_size=n))
    if row.kind == "bool":
        raw = bytes(byte & 1 for byte in raw)
    array = np.frombuffer(raw, row.dtype).reshape(shape)
    tensor = Tensor.from_array("x", array, row)
    again = Tensor.from_raw("x", row.name, shape, bytes(tensor.raw))
    assert bytes(tensor.raw) == raw
    assert again.array.tobytes() == raw
    assert again.shape == shape


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_bytes_elements_survive(elements):
    """BYTES elements of any content and length survive the length-prefixed form."""
    assert decode_bytes("x", encode_bytes(elements), (len(elements),)).tolist() == elements


def test_text_becomes_utf8():
    """Text arrays are BYTES in UTF-8."""
    assert Tensor.from_array("x", np.array(["ä", "b"])).array.tolist() == ["ä".encode(), b"b"]


@pytest.mark.parametrize("array", [np.arange(6).reshape(2, 3).T, np.arange(4, dtype=">i4"), np.arange(8)[::2]])
def test_strides_and_byte_order_do_not_show(array):
    """Raw bytes are little-endian and row-major whatever the array's memory looks like."""
    tensor = Tensor.from_array("x", array)
    assert np.frombuffer(tensor.raw, tensor.datatype.dtype).tolist() == array.ravel().tolist()


@pytest.mark.parametrize(
    ("name", "shape", "raw", "says"),
    [
        ("FP32", [2], b"1234", "4 bytes"),
        ("FP32", [-1], b"", "negative"),
        ("FP32", [2**62, 2**62], b"", "larger"),
        ("FP32", [0, -5], b"", "negative"),
        ("FP32", [True], b"1234", "integer"),
        ("fp32", [1], b"1234", "FP32"),
        ("FP99", [1], b"1234", "FP99"),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, raw, says):
    """Shape, datatype and size must agree; the sentence says what is wrong."""
    with pytest.raises(InferenceError, match=says) as caught:
        Tensor.from_raw("x", name, shape, raw)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "raw", [b"\x05\0\0\0abc", b"\x01\0", b"\x01\0\0\0a\x01\0\0\0b\x01\0\0\0c", b"\x01\0\0\0a", b"\xff\xff\xff\xffabc"]
)
def test_lying_bytes_lengths_are_refused(raw):
    """Element lengths, their number and the buffer must agree exactly."""
    with pytest.raises(InferenceError):
        _ = Tensor.from_raw("x", "BYTES", [2], raw).array


def test_wire_bytes_are_not_copied():
    """An array over wire bytes shares their memory."""
    raw = bytes(16)
    assert np.shares_memory(Tensor.from_raw("x", "FP32", [4], raw).array, np.frombuffer(raw, np.uint8))


def test_scalars_have_one_element():
    """Shape [] is one element."""
    assert Tensor.from_raw("x", "INT64", [], (5).to_bytes(8, "little")).array.item() == 5


@pytest.mark.parametrize("row", DATATYPES.values(), ids=lambda row: row.name)
def test_the_datatype_table_is_consistent(row):
    """Names look each other up, and numpy's item size is the protocol's."""
    assert datatype(row.name) is row
    assert of_array(np.zeros(1, row.dtype)) is row
    assert (row.contents is None) == (row.name in {"FP16", "BF16"})
    assert row.json == (row.name not in {"FP16", "BF16"})


def test_huge_dimension_counts_stop_early():
    """A shape that would overflow is refused before anything is allocated."""
    with pytest.raises(InferenceError):
        checked_shape("x", [2**20] * 4)
