"""What grpcio says of a connection that ends is UNAVAILABLE, whatever status it puts on it."""

from __future__ import annotations

import pytest

from crossover.clients.grpc_status import error_of
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import DETAILS_KEY, details_of
from crossover.transport.grpc.status import Status

OURS = ((DETAILS_KEY, details_of(InferenceError(Code.UNAVAILABLE, "the model is not ready"))),)


@pytest.mark.parametrize(
    ("status", "code", "unprocessed", "lost"),
    [
        (Status(14, "failed to connect to all addresses; last error: ..."), Code.UNAVAILABLE, True, False),
        (Status(14, "no connection within 5 s", unprocessed=True), Code.UNAVAILABLE, True, False),
        (Status(14, "Stream removed (recvmsg:Connection reset by peer)"), Code.UNAVAILABLE, False, True),
        (Status(14, "failed to connect to all addresses", OURS), Code.UNAVAILABLE, False, False),
        (Status(14, "the model is not ready", OURS), Code.UNAVAILABLE, False, False),
        (Status(13, "Internal error from Core"), Code.UNAVAILABLE, False, True),
        (Status(2, "Stream removed"), Code.UNAVAILABLE, False, True),
        (Status(1, "CANCELLED"), Code.UNAVAILABLE, False, True),
        (Status(1, "the client was closed"), Code.CANCELLED, False, False),
        (Status(13, "the model is broken"), Code.INTERNAL, False, False),
        (Status(2, "who knows"), Code.UNKNOWN, False, False),
    ],
)
def test_the_end_of_a_connection_is_unavailable(status, code, unprocessed, lost):
    """`unprocessed` goes elsewhere, `lost` puts its replica under suspicion; what a service tells is neither."""
    error = error_of(status, "host:1")
    assert (error.code, error.unprocessed, error.connection_lost) == (code, unprocessed, lost)
