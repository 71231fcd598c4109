"""Deadlines are absolute; the time that remains is what travels."""

import math
import time

import pytest

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "abc", "", " 5", "+5", "9" * 13, "٣", "5ms"])
def test_bad_timeout_headers_are_refused(text):
    """Only a positive integer of milliseconds is a timeout."""
    with pytest.raises(InferenceError, match="positive integer") as caught:
        deadline.from_header(text)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("value", [-1, True, 1.5, "100"])
def test_bad_timeout_parameters_are_refused(value):
    """OIP's `timeout` is a positive integer of microseconds."""
    with pytest.raises(InferenceError, match="positive integer"):
        deadline.from_parameter(value)


def test_absent_means_never():
    """No header and no parameter mean no deadline."""
    assert deadline.from_header(None) == deadline.from_parameter(None) == deadline.NEVER
    assert deadline.timeout_of(deadline.NEVER) is None
    assert deadline.to_header(deadline.NEVER) is None


def test_a_header_survives_the_hop():
    """What is sent on is what remains, never more and never zero."""
    sent = deadline.to_header(deadline.from_header("5000"))
    assert sent is not None and 1 <= int(sent) <= 5000
    assert deadline.to_header(time.monotonic() - 1) == "1"


def test_passed_deadlines_stop_work():
    """Work whose time is over is not started."""
    with pytest.raises(InferenceError) as caught:
        deadline.check(time.monotonic() - 0.001, "in the queue")
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    deadline.check(math.inf, "never")
