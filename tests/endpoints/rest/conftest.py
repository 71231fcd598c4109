"""A REST port around a fake, and a plain HTTP caller that adds nothing of its own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

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


async def calling(service: Service) -> AsyncIterator[Caller]:
    session = aiohttp.ClientSession(
        auto_decompress=False, skip_auto_headers=("Accept-Encoding", "Content-Type", "Accept", "User-Agent")
    )
    async with session:
        yield Caller(service, session)


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    async with served() as service:
        async for caller in calling(service):
            yield caller


@pytest.fixture
async def call_with():
    """call_with(options, ...) starts a port of its own; all are stopped at the end."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(*args: Any, **named: Any) -> Caller:
            service = await stack.enter_async_context(served(*args, **named))
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    auto_decompress=False, skip_auto_headers=("Accept-Encoding", "Content-Type", "Accept")
                )
            )
            return Caller(service, session)

        yield start
