"""REST clients against a real port around a fake."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crossover.clients.rest import RestClient
from crossover.protocol.wires import Target
from tests.endpoints.rest.service import Service, served


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop and one port for each file; stopping a port takes a moment."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[Service]:
    async with served() as service:
        yield service


@pytest.fixture
def service(port: Service) -> Service:
    port.inference.reset()
    return port


@pytest_asyncio.fixture(loop_scope="module")
async def connect() -> AsyncIterator[Any]:
    """connect(url, wire, ...) gives a client that is closed at the end."""
    async with contextlib.AsyncExitStack() as stack:

        def make(url: str, wire: str = "rest", **target: Any) -> RestClient:
            client = RestClient(Target(rest=url, **target), wire)
            stack.push_async_callback(client.close)
            return client

        yield make


@pytest.fixture(params=["rest", "rest-binary"])
def client(request, service: Service, connect: Any) -> RestClient:
    return connect(service.url, request.param)
