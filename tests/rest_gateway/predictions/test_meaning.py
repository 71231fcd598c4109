"""Conditions, preferences, media types and identifiers, without a gateway."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.errors import Code
from crossover.rest_gateway.api.conditions import check_match, is_current
from crossover.rest_gateway.api.negotiation import check_acceptable, preferences
from crossover.rest_gateway.api.problems import GRPC_NAMES, Problem, document
from crossover.rest_gateway.api.tensors import read_tensors, write_tensors
from crossover.rest_gateway.predictions.record import from_text, new_id, now_micros, to_text

TAGS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"'), max_size=8).map(
    lambda text: f'"{text}"'
)


@given(st.lists(TAGS, min_size=1, max_size=5), TAGS)
def test_tags(sent, current):
    """If-Match passes exactly the tags it lists, If-None-Match finds them, weak ones only the latter."""
    listed = current in sent
    assert is_current(", ".join(sent), current) == listed
    assert is_current(", ".join(f"W/{tag}" for tag in sent), current) == listed
    for header, passes in ((", ".join(sent), listed), (", ".join(f"W/{tag}" for tag in sent), False)):
        if passes:
            check_match(header, current)
        else:
            with pytest.raises(Problem) as problem:
                check_match(header, current)
            assert problem.value.status == 412


@pytest.mark.parametrize(("headers", "asynchronous", "wait"), [
    ([], False, None), (["respond-async"], True, None), (["Respond-Async, wait=5"], True, 5.0), (["wait=100000"], False, 60.0),
    (["foo; bar=1", 'respond-async; x="y"', "wait=3, wait=9"], True, 3.0), (["respond-asynchronously"], False, None),
    (["wait=x"], False, None),
])  # fmt: skip
def test_preferences(headers, asynchronous, wait):
    """Preferences are read from all headers, unknown ones ignored, the first of a kind taken."""
    found = preferences(headers)
    assert (found.respond_async, found.wait_seconds) == (asynchronous, wait)


@pytest.mark.parametrize(("accept", "fine"), [
    (None, True), ("application/json", True), ("APPLICATION/JSON;q=0.1", True), ("text/*, application/*", True),
    ("*/*;q=0, application/json", True), ("application/json;q=0, */*", False), ("text/html", False), ("q=1", False),
])  # fmt: skip
def test_accept(accept, fine):
    """The most specific range of Accept decides."""
    if fine:
        check_acceptable(accept)
    else:
        with pytest.raises(Problem):
            check_acceptable(accept)


def test_ids_sort_by_making():
    """Ids are version 7 UUIDs in the order of their making, many within a millisecond included."""
    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    assert all(one[14] == "7" and one[19] in "89ab" and len(one) == 36 for one in ids)


@given(st.integers(0, 4_102_444_800_000_000))
def test_times(micros):
    """A time written in RFC 3339 reads back as the same microsecond."""
    assert from_text(to_text(micros)) == micros
    assert to_text(now_micros()).endswith("Z")


@given(st.lists(st.floats(width=32), max_size=20))
def test_floats(values):
    """Every float reads back as it was written, the three that JSON lacks included."""
    import orjson

    text = [value if value == value and abs(value) != float("inf") else
            "NaN" if value != value else "Infinity" if value > 0 else "-Infinity" for value in values]  # fmt: skip
    item = {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": text}
    written = orjson.loads(write_tensors(read_tensors([item])))
    assert read_tensors(written)[0].raw == read_tensors([item])[0].raw
    assert [type(value) for value in written[0]["data"]] == [str if type(v) is str else float for v in text]


def test_grpc_names():
    """The names of gRPC's status codes stand at their numbers."""
    import grpc

    assert {status.value[0]: status.name for status in grpc.StatusCode} == dict(enumerate(GRPC_NAMES))


def test_titles_are_the_ones_that_are_documented(root):
    """Each status of docs/predictions.md has its title there, whatever this Python calls it."""
    named = dict(re.findall(r"^\| (\d{3}) ([A-Z][\w ]+) \|", (root / "docs/predictions.md").read_text(), re.MULTILINE))
    assert len(named) > 12
    assert named == {status: document(Problem(int(status), Code.INTERNAL, ""))["title"] for status in named}
