"""Errors keep their meaning over gRPC, and its own become one plain sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import details_in, details_of, error_from_status

REFUSED = (
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: "
    "Connection refused"
)


@given(st.sampled_from(Code), st.text(min_size=1, max_size=50))
def test_our_errors_survive(code, text):
    """Status, text and details give back the code and the text that they were made of."""
    sent = InferenceError(code, text)
    got = error_from_status(code.status.grpc, sent.message, details_of(sent), "host:1")
    assert (got.code, got.message) == (code, sent.message)


@given(st.binary(max_size=60))
def test_foreign_details_hide_nothing(details):
    """Broken or foreign details leave the status as it is."""
    assert error_from_status(5, "not here", details, "host:1").code is Code.NOT_FOUND


def test_details_without_an_error_info():
    """No details, no reason."""
    assert details_in(None) == (None, None)
    assert details_in(b"") == (None, None)


@pytest.mark.parametrize(
    ("number", "text", "code", "message"),
    [
        (14, REFUSED, Code.UNAVAILABLE, "the model server at host:1 can't be reached: connection refused"),
        (14, "Ssl handshake failed: x", Code.UNAVAILABLE, "the model server at host:1 can't be reached: the TLS handshake failed"),
        (14, "model 'm' is not at ready state", Code.UNAVAILABLE,
         "the model server at host:1 is not available: model 'm' is not at ready state"),
        (8, "SERVER: Received message larger than max (9 vs. 4)", Code.TOO_LARGE,
         "a message exceeds MAX_MESSAGE_BYTES: SERVER: Received message larger than max (9 vs. 4)"),
        (8, "too many calls", Code.OVERLOADED, "too many calls"),
        (4, "Deadline Exceeded", Code.DEADLINE_EXCEEDED, "the deadline passed while host:1 was working on the call"),
        (4, "took too long", Code.DEADLINE_EXCEEDED, "took too long"),
        (2, "", Code.UNKNOWN, "the call failed without a reason"),
    ],
)  # fmt: skip
def test_errors_that_are_not_ours(number, text, code, message):
    """What gRPC or another service says without details is understood by its status and its text."""
    got = error_from_status(number, text, None, "host:1")
    assert (got.code, got.message) == (code, message)


@given(st.sampled_from(Code), st.none() | st.floats(0, 1e6))
def test_when_to_try_again_travels_with_the_error(code, seconds):
    """google.rpc.RetryInfo stands beside the ErrorInfo, and comes back as it was to a microsecond."""
    told = error_from_status(code.status.grpc, "later", details_of(InferenceError(code, "later", seconds)), "host:1")
    assert told.code is code
    assert told.retry_after == (None if seconds is None else pytest.approx(seconds, abs=1e-6))
