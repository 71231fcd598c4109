"""The native reader agrees with the standard library's json wherever it answers at all."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.native import jsonnumbers

pytestmark = pytest.mark.skipif(jsonnumbers is None, reason="the native part is not built: no compiler or no headers")

KINDS = {"f4": "<f4", "f8": "<f8", "i1": "i1", "i2": "<i2", "i4": "<i4", "i8": "<i8", "u1": "u1", "u2": "<u2",
         "u4": "<u4", "u8": "<u8"}  # fmt: skip


def read(text: bytes, kind: str, count: int, shape: tuple[int, ...] | None = None) -> np.ndarray | None:
    out = np.full(count, 7, KINDS[kind])
    good = jsonnumbers.read(text, 0, len(text), kind, out.view(np.uint8), shape or (count,))
    return out if good else None


decimals = st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,3})?\Z")


@given(st.lists(decimals, min_size=1, max_size=20))
def test_any_decimal_is_rounded_as_json_rounds_it(texts):
    """Doubles are correctly rounded whatever the number of digits and the exponent."""
    expected = np.array(json.loads(f"[{','.join(texts)}]"), "<f8")
    got = read(f"[{', '.join(texts)}]".encode(), "f8", len(texts))
    assert got is not None
    assert got.tobytes() == expected.tobytes()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_shortest_forms_come_back_exactly(values):
    """What Python prints for a double is read as that double, and as float32 as numpy narrows it, unless it is too large."""
    text = json.dumps(values).encode()
    assert read(text, "f8", len(values)).tobytes() == np.array(values, "<f8").tobytes()
    with np.errstate(over="ignore"):
        narrow = np.array(values, "<f8").astype("<f4")
    got = read(text, "f4", len(values))
    assert (got is None) == bool(np.isinf(narrow).any())
    assert got is None or got.tobytes() == narrow.tobytes()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] in "iu"])
@given(
    value=st.one_of(st.integers(-(2**66), 2**66), st.sampled_from([2**k + d for k in range(7, 65) for d in (-1, 0, 1)]))
)
def test_integers_are_exact_or_refused(kind, value):
    """An integer in range is exact to 64 bits; one outside is refused, never wrapped."""
    bounds = np.iinfo(KINDS[kind])
    for signed in (value, -value):
        got = read(b"[%d]" % signed, kind, 1)
        assert (None if got is None else int(got[0])) == (signed if bounds.min <= signed <= bounds.max else None)


@pytest.mark.parametrize(
    "text",
    [b"[1,]", b"[,1]", b"[1 2]", b"[01]", b"[1.]", b"[.5]", b"[+1]", b"[1e]", b"[-]", b"[1", b"1]", b"[1]]", b"[[1]", b"[1]x",
     b"[NaN]", b"[true]", b"[--1]", b"[1,2]", b"[]", b"", b"[0x1]", b"[1.5.2]"],
)  # fmt: skip
def test_what_is_not_one_json_number_is_refused(text):
    """Anything but exactly the numbers asked for is left to the path in Python."""
    assert read(text, "f4", 1) is None


@pytest.mark.parametrize("text", [b"[1.0]", b"[1e2]", b"[1.5]"])
def test_fractions_are_not_integers(text):
    """An integer type takes no fraction and no exponent, even a whole one."""
    assert read(text, "i4", 1) is None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"[[1,2,3],[4,5,6]]", True),
        (b" [ [1 , 2,3] ,\n[4,5,6] ] ", True),
        (b"[1,2,3,4,5,6]", True),
        (b"[[1,2],[3,4],[5,6]]", False),
        (b"[[1,2,3],[4,5],[6]]", False),
        (b"[[1,2,3],4,5,6]", False),
        (b"[[[1,2,3],[4,5,6]]]", False),
        (b"[[1,2,3]]", False),
    ],
)
def test_nesting_is_flat_or_the_shape(text, good):
    """Nested arrays must follow the shape exactly."""
    assert (read(text, "i4", 6, (2, 3)) is not None) == good


def test_split_takes_out_numeric_data_and_nothing_else():
    """Strings, short arrays, mixed arrays and other keys stay in the skeleton."""
    body = b'{"inputs":[{"name":"\\"data\\":[","data": [1.25, 2.5, 3.75, 4]},{"data":["a","bbbbbbbbbbbbbbbb"]},{"data":[1]}]}'
    skeleton, spans = jsonnumbers.split(body)
    assert json.loads(skeleton) == {
        "inputs": [{"name": '"data":[', "data": [[0]]}, {"data": ["a", "b" * 16]}, {"data": [1]}]
    }
    assert [body[start:end] for start, end in spans] == [b"[1.25, 2.5, 3.75, 4]"]


@given(st.binary(max_size=200) | st.text(alphabet='"data:[]{},0123456789.eE+- \\', max_size=200).map(str.encode))
def test_hostile_text_never_breaks_split(text):
    """Any bytes give a skeleton no longer than the text, or nothing to take out."""
    skeleton, spans = jsonnumbers.split(text)
    assert len(skeleton) <= len(text)
    for start, end in spans:
        assert jsonnumbers.read(text, start, end, "f8", bytearray(8), (1,)) in (True, False)
