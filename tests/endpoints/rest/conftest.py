"""A REST port around a fake, and a plain HTTP caller that adds nothing of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.endpoints.rest.service import Service, served


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    def __init__(self, service: Service, session: aiohttp.ClientSession) -> None:
        self.service = service
        self.inference = service.inference
        self._session = session

    async def __call__(
        self, method: str, path: str, body: Any = None, headers: dict | None = None, text: str = ""
    ) -> Answer:
        data = json.dumps(body).encode() if isinstance(body, dict | list) else body
        if text:
            data = text.encode("utf-8", "surrogatepass")
        url = aiohttp.client.URL(self.service.url + path, encoded=True)
        async with self._session.request(method, url, data=data, headers=headers) as reply:
            return Answer(reply.status, reply.headers, await reply.read())

    async def infer(self, *inputs: dict, model: str = "echo", headers: dict | None = None, **beside: Any) -> Answer:
        return await self("POST", f"/v2/models/{model}/infer", {"inputs": list(inputs), **beside}, headers)


SKIPPED_HEADERS = ("Accept-Encoding", "Content-Type", "Accept", "User-Agent")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop and one port for each file; stopping a port takes a moment."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port() -> AsyncIterator[Caller]:
    async with (
        served() as service,
        aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=SKIPPED_HEADERS) as session,
    ):
        yield Caller(service, session)


@pytest.fixture
def call(port: Caller) -> Caller:
    """The file's port with nothing recorded yet."""
    port.inference.reset()
    return port


@pytest_asyncio.fixture(loop_scope="module")
async def call_with() -> AsyncIterator[Any]:
    """call_with(options, ...) starts a port of its own; all are stopped at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*args: Any, **named: Any) -> Caller:
            service = await stack.enter_async_context(served(*args, **named))
            session = aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=SKIPPED_HEADERS)
            return Caller(service, await stack.enter_async_context(session))

        yield start
