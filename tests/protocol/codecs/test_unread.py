"""A long text that is read in parts means what it means read whole, or is refused with the same sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossover.protocol.codecs.json import text as json_text
from crossover.protocol.codecs.json import unread
from crossover.protocol.codecs.json.values import to_array
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.native import jsonchecks
from crossover.protocol.tensors import declared

pytestmark = pytest.mark.skipif(jsonchecks is None, reason="the native part is not built")

BLANKS = ["", "", "", " ", "\n ", "\t\r"]
TOKENS = [*'[]{},:"\\', *" \n\0-10.e", "01", "1.", "1e", "1e400", "-1e-400", "1" * 400, "0." + "1" * 500, "1" + "0" * 320 + "e-300",
          "18446744073709551616", "-0", "true", "tru", "null", "NaN", "Infinity", "-Infinity", '"\\ud800"', '"\\ud83d\\ude00"',
          '"\\u12"', '"\\x"', '"한"', '"a\x01"', '"data"', '"data":[1.5,2,3]', "[[0]]", "\ufeff"]  # fmt: skip
leaves = st.sampled_from(
    ["1", "-2.5", '"x"', "true", "null", "1e5", '"\\u00e9한"', "3", "[[0]]", "[]", "{}", '"' + "y" * 60 + '"']
)
blanks = st.sampled_from(BLANKS)
keys = st.sampled_from(['"data"', '"k"', '"1"', '"2"'])


def joined(items: list[str], blank: str, brackets: str) -> str:
    return brackets[0] + blank + f"{blank},{blank}".join(items) + blank + brackets[1]


texts = st.recursive(
    leaves,
    lambda inner: (
        st.builds(joined, st.lists(inner, max_size=6), blanks, st.just("[]"))
        | st.builds(joined, st.lists(st.builds("{}:{}".format, keys, inner), max_size=5), blanks, st.just("{}"))
    ),
    max_leaves=40,
)


@st.composite
def broken(draw) -> bytes:
    """JSON text in which something was put in, left out or cut off, once."""
    text = draw(texts)
    at = draw(st.integers(0, len(text)))
    to = min(len(text), at + draw(st.integers(0, 4)))
    new = draw(st.sampled_from(["", *TOKENS]))
    rest = "" if draw(st.integers(0, 9)) == 0 else text[to:]
    data = (text[:at] + new + rest).encode()
    return data[:at] + b"\xff" + data[at:] if draw(st.integers(0, 30)) == 0 else data


def unfolded(value):
    if isinstance(value, unread.UnreadArray):
        return [unfolded(item) for item in value]
    if isinstance(value, json_text.Unread):
        return json_text.loads(value._text[value._start : value._end])
    if type(value) is list:
        return [unfolded(item) for item in value]
    return {key: unfolded(item) for key, item in value.items()} if type(value) is dict else value


def meant(read, text):
    try:
        return repr(read(text))
    except json.JSONDecodeError as error:
        return json_text.refusal(error).message
    except InferenceError as error:
        return error.message


@given(texts.map(str.encode) | broken(), st.sampled_from([1, 16, 100]))
@example(b" " * 99 + b"[1,", 1)
@example(b'[1 , \n "' + b"y" * 300 + b"\\ud800" + b'", 2]', 16)
@example(b'{"a":NaN,"b":"\\ud800"}', 16)
@example(b'{"a":[NaN,1e999]}', 16)
@example(b"[" * 1025, 16)
@example(b'{"":' * 1024 + b"1" + b"}" * 1024, 16)
def test_a_text_in_parts_means_what_it_means_whole(text, piece):
    """The same value, or the same words with the same line and column."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unread, "PIECE_BYTES", piece)
        assert meant(lambda text: unfolded(unread.read(text, literals=True)), text) == meant(json_text.loads, text)


elements = st.sampled_from(
    ["0", "1", "-1", "-0", "0.5", "1e2", "127", "128", "-129", "255", "256", "2147483648", "-2147483649", "9223372036854775807",
     "9223372036854775808", "-9223372036854775809", "18446744073709551615", "18446744073709551616", "1e39", "-3.5e38", "1e308",
     "3.4028235677973366e38", "0." + "1" * 500, "1" + "0" * 400 + "e-400", "true", "false", "null", "NaN", "Infinity", "-Infinity",
     '"a"', '"NaN"', '"\\ud83d\\ude00"', '""', "[]", "[1]", "{}", '{"a":[1,2],"b":3}'])  # fmt: skip
good = st.sampled_from(["1", "2", "3.5", '"a"', "true"])


@st.composite
def arrays(draw):
    """A shape and an array that has it, has nearly it, or has something else in it."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    usual = draw(good)

    def nested(rank: int) -> str:
        if rank == len(shape):
            return usual if draw(st.integers(0, 5)) else draw(elements)
        count = shape[rank] + (0 if draw(st.integers(0, 30)) else draw(st.sampled_from([-1, 1])))
        return f"[{draw(blanks)}{','.join(nested(rank + 1) for _ in range(max(0, count)))}]"

    if draw(st.booleans()):
        count = max(0, json_count(shape) + draw(st.sampled_from([0, 0, 0, 1, -1])))
        return tuple(
            shape
        ), f"[{', '.join(draw(elements) if draw(st.integers(0, 5)) == 0 else usual for _ in range(count))}]"
    text = nested(0)
    return tuple(shape), text if text.startswith("[") else f"[{text}]"


def json_count(shape) -> int:
    count = 1
    for dim in shape:
        count *= dim
    return count


@given(arrays(), st.sampled_from(sorted(DATATYPES)))
@example(((1, 1, 1), "[[1]]"), "FP32")
@example(((1,), "[[1]]"), "FP32")
@example(((2, 0, 3), "[[],[]]"), "FP32")
@example(((2,), '[{"a":[1,2]},1]'), "INT8")
def test_an_array_that_stays_text_is_the_tensor_of_its_elements(array, datatype):
    """Every datatype: the same elements, or the same sentence about the first that is wrong."""
    shape, text = array
    row, shape = declared("x", datatype, shape)

    def plain():
        return to_array("x", row, shape, json_text.loads(text.encode())).tolist()

    def native():
        return unread.UnreadArray(text.encode(), 0, len(text)).tensor("x", row, shape).array.tolist()

    assert outcome(native) == outcome(plain)


def outcome(read):
    try:
        return repr(read())
    except InferenceError as error:
        return error.message


@pytest.mark.parametrize("text", [b"[]", b"7", b'"a"', b"[1,2,3,4]", b"null", b" "])
def test_the_top_must_be_an_object(text):
    """The kind of what it is instead is named, long or short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unread, "LONG_BYTES", 0)
        patch.setattr(unread, "PIECE_BYTES", 1)
        assert meant(unread.read_object, text) == meant(json_text.loads_object, text)


def test_what_becomes_objects_has_a_bound():
    """Elements that are asked for one by one are counted, and refused before there are too many."""
    text = b'{"a":{"b":[%b{}]}}' % (b"[1]," * 140_000)
    rows = unread.read_object(text)["a"]["b"]
    assert (type(rows), len(rows)) == (unread.UnreadArray, 140_001)
    with pytest.raises(InferenceError) as caught:
        list(rows)
    assert caught.value.code is Code.TOO_LARGE


def test_a_container_that_nobody_looks_into_stays_text():
    """However deep its objects nest: of one that is unknown, only the depth is looked at."""
    text = b'{"a":' * 60 + b"[" + b"1," * 70_000 + b"1]" + b"}" * 60
    value = unread.read_object(text)
    json_text.check_depth(value, 61)
    with pytest.raises(InferenceError, match="nests deeper"):
        json_text.check_depth(value, 60)


def test_a_long_text_that_is_refused_leaves_the_interpreter_to_others():
    """While it is checked and its fault is found, another thread goes on: nothing long is read with the interpreter held."""
    text = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d],"data":[%b"a"]}]}' % (200_001, b"0.5," * 200_000)
    given = []

    class Spy:
        JSONDecodeError = json.JSONDecodeError

        @staticmethod
        def loads(text):
            given.append(len(text))
            return original(text)

    original = json_text.orjson.loads
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "orjson", Spy)
        patch.setattr(unread, "orjson", Spy)
        for body in (text, text[:-2], text.replace(b'"a"', b"0.5") + b"x", text.replace(b"0.5,", b'"",')):
            with pytest.raises(InferenceError):
                unread.read_object(body)["inputs"][0]["data"].tensor("x", DATATYPES["FP32"], (200_001,))
    assert given
    assert max(given) <= unread.PIECE_BYTES
