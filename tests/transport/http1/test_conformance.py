"""Our HTTP/1.1 server against the table of RFC 9112, however the bytes are split into packets."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.endpoints.rest.service import ImmediateInference, served
from tests.transport.http1.conformance import CASES, CLOSED, LAST, answers, filled

GET, POST = b"/v2/health/live", b"/v2/models/echo/infer"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port():
    async with served(kind=ImmediateInference) as service:
        yield service.port


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_rfc_9112(port, case):
    """Each request of the table gets the statuses that the section asks for, and leaves the connection as it says."""
    found = await answers(port, [filled(case.sent, GET, POST)], LAST)
    assert found == (case.statuses, case.end)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", [case for case in CASES if len(case.sent) < 2000], ids=lambda case: case.name)
async def test_byte_by_byte(port, case):
    """The same, with every byte in a packet of its own."""
    sent = filled(case.sent, GET, POST)
    found = await answers(port, [sent[at : at + 1] for at in range(len(sent))], LAST)
    assert found == (case.statuses, case.end)


SPLIT = [case for case in CASES if len(case.sent) < 20_000]


@settings(suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_answer_depends_on_packets(data):
    """Requests in any order, cut at any places, get the statuses that each has by itself, up to the first that closes."""
    cases = data.draw(st.lists(st.sampled_from(SPLIT), min_size=1, max_size=4))
    sent = b"".join(filled(case.sent, GET, POST) for case in cases)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sent)), max_size=12)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    expected: list[int] = []
    end = "kept"
    for case in cases:
        expected += case.statuses
        if case.end == CLOSED:
            end = CLOSED
            break

    async def exchange():
        async with served(kind=ImmediateInference) as service:
            return await answers(service.port, pieces, LAST, 0.001)

    assert asyncio.run(exchange()) == (expected, end)
