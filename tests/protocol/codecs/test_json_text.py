"""JSON text as OIP's clients write it, read as the standard library reads it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.codecs.json.text import MAX_DEPTH, check_depth, dumps, loads, loads_object
from crossover.protocol.errors import InferenceError

finite = st.floats(allow_nan=False, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=30,
)


@given(documents)
def test_what_is_written_is_read_again_by_json_too(value):
    """Our text is JSON for the standard library, and both read the same from it."""
    written = dumps(value)
    assert loads(written) == json.loads(written) == value


@given(documents, st.sampled_from(["NaN", "Infinity", "-Infinity"]))
def test_literals_anywhere_are_read_as_json_reads_them(value, literal):
    """A text with a bare literal means what the standard library says it means."""
    written = b'[%b, %b, {"k": %b}]' % (literal.encode(), json.dumps(value).encode(), literal.encode())
    read = loads(written)
    assert repr(read) == repr(json.loads(written))


@given(st.binary(max_size=40) | documents.map(lambda value: json.dumps(value).encode()[:-1]))
def test_any_bytes_are_read_as_json_reads_them_or_refused(data):
    """No bytes make anything but a value or an INVALID_ARGUMENT; a value is what json says of the same bytes."""
    try:
        value = loads(data)
    except InferenceError as error:
        assert "Error" not in error.message
        return
    assert repr(value) == repr(json.loads(data.decode()))


def test_integers_beyond_64_bits_are_never_integers_of_another_value():
    """orjson makes floats of them; with a literal beside them they stay exact."""
    assert loads(b"[18446744073709551615, -9223372036854775808]") == [2**64 - 1, -(2**63)]
    assert isinstance(loads(b"[18446744073709551616]")[0], float)
    assert loads(b"[18446744073709551616, NaN]")[0] == 2**64


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b'"x"', b"null", b"NaN"])
def test_the_top_must_be_an_object(text):
    """`loads_object` names what it found instead."""
    with pytest.raises(InferenceError, match="takes a JSON object"):
        loads_object(text)


def test_depth_is_limited():
    """Nesting up to the limit passes, one level more does not; deep texts never exhaust the stack."""
    nested = []
    for _ in range(MAX_DEPTH - 1):
        nested = [nested]
    check_depth(nested, MAX_DEPTH)
    with pytest.raises(InferenceError, match="nests deeper than 100 levels"):
        check_depth([nested], MAX_DEPTH - 1)
    for deep in (b"[" * 100_000, b'{"a":' * 100_000, b"[NaN" + b",[" * 100_000):
        with pytest.raises(InferenceError):
            loads(deep)


def test_surrogates_are_written_without_an_exception():
    """A text that is no valid Unicode still makes a reply."""
    assert json.loads(dumps({"error": "\ud800"})) == {"error": "\ud800"}


def test_a_number_beyond_floats_is_refused_in_both_ways():
    """1e999 is not taken for infinity, with or without a literal beside it."""
    for text in (b"[1e999]", b"[1e999, NaN]", b"[-1e999, NaN]"):
        with pytest.raises(InferenceError):
            loads(text)
    assert math.isclose(loads(b"[1e308, NaN]")[0], 1e308)
