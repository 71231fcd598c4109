"""Both services' REST ports against the table of RFC 9112: the gateway under /v2 and under /api, and the model server."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from tests.transport.http1.conformance import CASES, LAST, answers, filled

INDEX = b"/v2/repository/index"
PLACES = {
    "gateway, OIP": ("gateway_url", b"/v2/health/live"),
    "gateway, FastAPI": ("gateway_url", b"/api/models"),
    "model server": ("rest_url", b"/v2/health/live"),
}


@pytest.mark.parametrize("place", PLACES)
def test_rfc_9112(stack, place):
    """Each request of the table gets the statuses that the section asks for, and leaves the connection as it says."""
    url, path = PLACES[place]
    port = urlsplit(getattr(stack, url)).port

    async def exchanges():
        return [await answers(port, [filled(case.sent, path, INDEX)], LAST) for case in CASES]

    found = asyncio.run(exchanges())
    wrong = [
        (case.name, got, (case.statuses, case.end))
        for case, got in zip(CASES, found, strict=True)
        if got != (case.statuses, case.end)
    ]
    assert wrong == []
