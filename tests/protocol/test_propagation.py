"""Headers that go on with a call have one form, which every wire carries."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.propagation import LIMITS, propagated

HEADERS = st.dictionaries(
    st.sampled_from([*LIMITS, "other"]), st.text() | st.binary().map(lambda data: data.decode("latin-1"))
)


@given(HEADERS)
def test_whatever_comes_leaves_as_printable_ascii_within_its_limit(headers):
    """No value can break a wire, whatever it was; and passing on twice changes nothing."""
    kept = propagated(headers)
    assert kept.keys() <= LIMITS.keys() & headers.keys()
    for name, value in kept.items():
        assert 0 < len(value) <= LIMITS[name]
        assert all(" " <= letter <= "~" for letter in value)
        assert value == value.strip(" ")
    assert propagated(kept) == kept


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=512))
def test_what_every_wire_carries_is_unchanged(value):
    """Printable ASCII within the limit goes on as it came."""
    headers = dict.fromkeys(LIMITS, value)
    assert propagated(headers) == headers


@given(
    st.binary(min_size=1, max_size=300).filter(
        lambda data: not set(b"%\r\n\0") & set(data) and data.strip(b" ") == data
    )
)
def test_a_request_id_can_be_found_again(data):
    """Percent-decoding gives the bytes that came."""
    assert unquote_to_bytes(propagated({"x-request-id": data.decode("latin-1")})["x-request-id"]) == data


@pytest.mark.parametrize("value", ["a\tb", "caf\xe9", "\x7f", "\x01", "\u2603"])
def test_a_trace_of_another_form_is_dropped(value):
    """No trace is better than a wrong one; the request's id is escaped instead."""
    kept = propagated(dict.fromkeys(LIMITS, value))
    assert list(kept) == ["x-request-id"]
    assert "%" in kept["x-request-id"]


@pytest.mark.parametrize("name", LIMITS)
def test_what_is_too_long_for_a_shared_connection_is_dropped(name):
    """A header of 70 KB is this request's alone; 512 bytes of tracestate always go on (W3C)."""
    assert propagated({name: "x" * 70_000}) == {}
    assert propagated({name: "x" * (LIMITS[name] + 1)}) == {}
    assert propagated({name: "x" * 512}) == {name: "x" * 512}


def test_all_of_them_together_fit_in_what_grpc_servers_take():
    """8 KiB of metadata are taken by default, names and 32 bytes an entry counted (RFC 9113 6.5.2)."""
    assert sum(len(name) + limit + 32 for name, limit in LIMITS.items()) < 8192 - 1024


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0"])
def test_what_would_end_its_line_is_dropped(value):
    """No header's value holds these; whoever sends one means another header."""
    assert propagated(dict.fromkeys(LIMITS, value)) == {}
