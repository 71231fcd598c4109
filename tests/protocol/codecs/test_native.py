"""The native readers agree with the standard library's json wherever they answer at all."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from crossover.protocol.native import jsontensors
from crossover.protocol.tensors import decode_bytes

pytestmark = pytest.mark.skipif(jsontensors is None, reason="the native part is not built: no compiler or no headers")

KINDS = {"f4": "<f4", "f8": "<f8", "i1": "i1", "i2": "<i2", "i4": "<i4", "i8": "<i8", "u1": "u1", "u2": "<u2",
         "u4": "<u4", "u8": "<u8"}  # fmt: skip


def read(text: bytes, kind: str, count: int, shape: tuple[int, ...] | None = None) -> np.ndarray | None:
    out = np.full(count, 7, KINDS[kind])
    good = jsontensors.read(text, 0, len(text), kind, out.view(np.uint8), shape or (count,))
    return out if good else None


decimals = st.from_regex(r"\A-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,3})?\Z")


@given(st.lists(decimals, min_size=1, max_size=20))
def test_any_decimal_is_rounded_as_json_rounds_it(texts):
    """Doubles are correctly rounded whatever the number of digits and the exponent; what is beyond them is refused."""
    expected = np.array(json.loads(f"[{','.join(texts)}]"), "<f8")
    got = read(f"[{', '.join(texts)}]".encode(), "f8", len(texts))
    if np.isinf(expected).any():
        assert got is None
        return
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
     b"[nan]", b"[true]", b"[-NaN]", b"[nul]", b"[Infinity", b"[--1]", b"[1,2]", b"[]", b"", b"[0x1]", b"[1.5.2]"],
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
    """Short arrays, arrays of objects, mixed arrays that begin with text and other keys stay in the skeleton."""
    body = (
        b'{"inputs":[{"name":"\\"data\\":[","data": [1.25, 2.5, 3.75, 4]},{"data":["a","]bbbbbbbbbbbbbb\\""]},{"data":[1]},'
        b'{"data":["a",12345678901234567890]},{"data":[{"a":"bbbbbbbbbbbbbb"}]},{"dato":[1.25, 2.5, 3.75, 4]}]}'
    )
    skeleton, spans = jsontensors.split(body, 9)
    assert json.loads(skeleton) == {
        "inputs": [
            {"name": '"data":[', "data": [[0]]},
            {"data": [[1]]},
            {"data": [1]},
            {"data": ["a", 12345678901234567890]},
            {"data": [{"a": "bbbbbbbbbbbbbb"}]},
            {"dato": [1.25, 2.5, 3.75, 4]},
        ]
    }
    assert [body[start:end] for start, end in spans] == [b"[1.25, 2.5, 3.75, 4]", b'["a","]bbbbbbbbbbbbbb\\""]']


def test_split_gives_up_where_there_are_too_many():
    """More arrays than asked for give no skeleton, so that their number is bounded."""
    item = b'"data":[1.25,2.5,3.75,4.5]'
    assert jsontensors.split(item * 9, 9)[0].count(b"[[") == 9
    assert jsontensors.split(item * 10, 9) == (None, [])


def strings(text: bytes, *shape: int) -> list[bytes] | None:
    raw = jsontensors.strings(text, 0, len(text), shape)
    return None if raw is None else decode_bytes("x", raw, shape).ravel().tolist()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40)), st.booleans())
def test_strings_are_what_json_reads(values, ascii_only):
    """Escaped or not, a string comes out as its UTF-8; half of a surrogate pair is left to the path in Python."""
    text = json.dumps(values, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert strings(text, len(values)) == [value.encode() for value in values]


@given(
    st.lists(st.binary(max_size=12).map(lambda b: b'"' + b + b'"'), max_size=3).map(
        lambda p: b"[" + b",".join(p) + b"]"
    )
)
@example(b'["\\ud800"]')
@example(b'["\\ud83d\\ude00"]')
@example(b'["\xed\xa0\x80"]')
@example(b'["\xc0\x80"]')
@example(b'["\xf4\x90\x80\x80"]')
@example(b'["0123456\x1f9abcdef"]')
def test_what_is_no_string_of_json_is_refused(text):
    """Bad UTF-8, control characters and bad escapes are refused exactly where orjson refuses them."""
    try:
        expected = [value.encode() for value in orjson.loads(text)]
    except (orjson.JSONDecodeError, AttributeError):
        return
    assert strings(text, len(expected)) == expected


@pytest.mark.parametrize(("text", "shape", "good"), [
    (b'[["a","b"],["c","d"]]', (2, 2), True),
    (b'["a","b","c","d"]', (2, 2), True),
    (b'[["a","b","c"],["d"]]', (2, 2), False),
    (b'["a","b","c"]', (2, 2), False),
    (b'["a","b","c","d","e"]', (2, 2), False),
    (b'["a",1]', (2,), False),
    (b'["a"', (1,), False),
    (b'["a"]', (2**62, 4), False),
])  # fmt: skip
def test_text_nests_as_numbers_do(text, shape, good):
    """Flat or nested exactly as the shape, with as many elements as it says."""
    assert (strings(text, *shape) is not None) == good


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_literals(kind):
    """null is NaN, and the three bare literals are floats; true and false are BOOL's and nothing else."""
    got = read(b"[null,NaN,Infinity,-Infinity,1.5]", kind, 5)
    np.testing.assert_array_equal(got, [np.nan, np.nan, np.inf, -np.inf, 1.5])
    truth = np.zeros(3, "?")
    assert jsontensors.read(b"[true,false,true]", 0, 17, "b1", truth.view(np.uint8), (3,))
    assert truth.tolist() == [True, False, True]
    assert not jsontensors.read(b"[1]", 0, 3, "b1", bytearray(1), (1,))


@given(st.binary(max_size=200) | st.text(alphabet='"data:[]{},0123456789.eE+- \\', max_size=200).map(str.encode))
def test_hostile_text_never_breaks_split(text):
    """Any bytes give a skeleton no longer than the text, or nothing to take out."""
    skeleton, spans = jsontensors.split(text, 9)
    assert (skeleton is None) == (not spans)
    assert len(skeleton or b"") <= len(text)
    for start, end in spans:
        assert jsontensors.read(text, start, end, "f8", bytearray(8), (1,)) in (True, False)
