"""What a stream's messages carry beside the tensors arrives as it was sent."""

import time

import numpy as np
import pytest

from crossover.protocol import deadline, streaming
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline

REQUEST = InferRequest("m", [Tensor.from_array("x", np.zeros(1))], id="theirs", parameters={"p": 1})


@pytest.mark.parametrize("seconds", [None, 5])
@pytest.mark.parametrize("timed", [False, True])
def test_a_context_survives(seconds, timed):
    """Deadline, headers that travel and the wish for a timeline come out as they went in, and leave no parameter."""
    sent = CallContext(
        deadline.after(seconds), Timeline() if timed else None, {"traceparent": "a", "x-request-id": "b"}
    )
    request = streaming.numbered(REQUEST, "1", sent)
    arrived = protobuf_codec.decode_request(protobuf_codec.encode_request(request))
    got = CallContext()
    streaming.take_context(arrived, got)
    assert (arrived.id, arrived.parameters, got.headers) == ("1", {"p": 1}, sent.headers)
    assert (got.timeline is not None) is timed
    assert (got.deadline == deadline.NEVER) is (seconds is None)
    assert seconds is None or got.deadline - time.monotonic() <= seconds + 0.001


def test_the_callers_request_is_left_alone():
    """Numbering makes a new request; the caller's keeps its id and parameters."""
    streaming.numbered(REQUEST, "1", CallContext(headers={"traceparent": "a"}))
    assert (REQUEST.id, REQUEST.parameters) == ("theirs", {"p": 1})


def test_the_nearest_deadline_wins():
    """A request on a stream can only ask for less than the stream has."""
    near, request = CallContext(deadline.after(1)), streaming.numbered(REQUEST, "1", CallContext(deadline.after(60)))
    until = near.deadline
    streaming.take_context(request, near)
    assert near.deadline == until


def test_cancelling_names_its_request():
    """A cancelling message names the id; an ordinary request names none."""
    assert streaming.cancelled_by(protobuf_codec.decode_request(streaming.cancel_message("7"))) == "7"
    assert streaming.cancelled_by(REQUEST) is None


@pytest.mark.parametrize("code", Code)
def test_errors_survive(code):
    """Code, text and id of an error come out as they went in."""
    text, response = protobuf_codec.decode_stream_response(
        streaming.error_message("7", InferenceError(code, "because, ä"))
    )
    error = streaming.stream_error(text, response)
    assert (response.id, error.code, error.message) == ("7", code, "because, ä")
