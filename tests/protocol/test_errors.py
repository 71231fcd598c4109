"""The error table means the same in both directions."""

import pytest

from crossover.protocol.errors import MAX_MESSAGE_CHARS, TABLE, Code, InferenceError, code_from_grpc, code_from_http


@pytest.mark.parametrize("code", Code)
def test_every_code_has_one_row(code):
    """Each code stands in the table with a gRPC number and an HTTP error status."""
    assert 1 <= TABLE[code].grpc <= 16
    assert 400 <= TABLE[code].http <= 599


@pytest.mark.parametrize("code", Code)
def test_a_code_survives_both_wires(code):
    """With its name beside the status, a code is read back as itself from either wire."""
    assert code_from_grpc(code.status.grpc, code.name) is code
    assert code_from_http(code.status.http, code.name) is code


def test_every_grpc_status_but_ok_is_covered():
    """No gRPC status number is without a code."""
    assert {status.grpc for status in TABLE.values()} == set(range(1, 17))


@pytest.mark.parametrize("number", range(1, 17))
def test_a_bare_grpc_status_keeps_its_number(number):
    """A peer that sends only a status is passed on with that status."""
    assert code_from_grpc(number).status.grpc == number


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, Code.INVALID_ARGUMENT),
        (404, Code.NOT_FOUND),
        (413, Code.TOO_LARGE),
        (422, Code.INVALID_ARGUMENT),
        (429, Code.OVERLOADED),
        (418, Code.INVALID_ARGUMENT),
        (500, Code.INTERNAL),
        (502, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
        (504, Code.DEADLINE_EXCEEDED),
        (599, Code.UNKNOWN),
    ],
)
def test_a_foreign_http_status_is_understood(status, code):
    """Statuses of servers that are not ours map to the nearest code."""
    assert code_from_http(status) is code


def test_a_reason_that_contradicts_the_status_is_not_believed():
    """The status wins over a name that belongs to another status."""
    assert code_from_grpc(5, "TOO_LARGE") is Code.NOT_FOUND
    assert code_from_http(404, "OVERLOADED") is Code.NOT_FOUND


def test_long_messages_are_cut():
    """A text never grows a gRPC trailer beyond what peers accept."""
    assert len(InferenceError(Code.INTERNAL, "x" * 10_000).message) == MAX_MESSAGE_CHARS


def test_only_calls_that_were_not_carried_out_are_retryable():
    """Retrying is safe for a missing service and a full queue, and for nothing else."""
    assert {code for code in Code if code.status.retryable} == {Code.UNAVAILABLE, Code.OVERLOADED}
