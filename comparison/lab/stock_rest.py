"""REST by well-known libraries alone, nothing tuned.

As usually written: httpx with `json=` on one side, FastAPI with pydantic models on the other. At its best: aiohttp on one
side, a plain Starlette route on the other, and OIP's binary tensors by orjson and numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import numpy as np
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from crossover.clients import rest
from crossover.comparison.lab.wires import STOCK_PORT, address
from crossover.protocol.datatypes import datatype
from crossover.protocol.deadline import timeout_of
from crossover.protocol.errors import Code, InferenceError, code_from_http
from crossover.protocol.inference import CallContext, Wrapper
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from crossover.protocol.inference import Inference
    from crossover.protocol.wires import Target


_HEADER_LENGTH, _SIZE = "inference-header-content-length", "binary_data_size"


class TensorBody(BaseModel):
    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class RequestBody(BaseModel):
    inputs: list[TensorBody]
    parameters: dict[str, Any] = {}


class ReplyBody(BaseModel):
    model_name: str
    model_version: str
    outputs: list[TensorBody]


def app(inference: Inference) -> FastAPI:
    """A FastAPI application with one route: OIP's infer, by pydantic both ways."""
    made = FastAPI()

    @made.post("/v2/models/{model}/infer")
    async def infer(model: str, body: RequestBody) -> ReplyBody:
        inputs = [_tensor(item.name, item.datatype, item.shape, item.data) for item in body.inputs]
        request = InferRequest(model, inputs, parameters=body.parameters)
        response = await inference.infer(request, CallContext())
        outputs = [
            TensorBody(name=t.name, datatype=t.datatype.name, shape=list(t.shape), data=t.array.ravel().tolist())
            for t in response.outputs
        ]
        return ReplyBody(model_name=response.model_name, model_version=response.model_version, outputs=outputs)

    @made.post("/binary/v2/models/{model}/infer")
    async def infer_binary(model: str, call: Request) -> Response:
        body = await call.body()
        described, inputs = _from_binary(body, int(call.headers[_HEADER_LENGTH]), "inputs")
        request = InferRequest(model, inputs, parameters=described.get("parameters", {}))
        response = await inference.infer(request, CallContext())
        described = {"model_name": response.model_name, "model_version": response.model_version}
        head, whole = _to_binary(described, "outputs", response.outputs)
        return Response(whole, media_type="application/octet-stream", headers={_HEADER_LENGTH: str(head)})

    @made.exception_handler(InferenceError)
    async def refused(_: object, error: Exception) -> JSONResponse:
        found = error if isinstance(error, InferenceError) else InferenceError(Code.INTERNAL, "failed")
        return JSONResponse({"error": found.message}, found.code.status.http)

    return made


def connect(target: Target) -> Inference:
    return StockRest(target)


class StockRest(Wrapper):
    """httpx's `json=` and `.json()`, lists of numbers, a shared client."""

    def __init__(self, target: Target) -> None:
        super().__init__(rest.connect(target))
        self._client = httpx.AsyncClient(base_url=f"http://{address(target, STOCK_PORT)}", trust_env=False)

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        document = {"inputs": [_document(tensor) for tensor in request.inputs], "parameters": request.parameters}
        context.mark("sent")
        try:
            reply = await self._client.post(
                f"/v2/models/{request.model_name}/infer", json=document, timeout=timeout_of(context.deadline)
            )
        except httpx.HTTPError as error:
            raise InferenceError(Code.UNAVAILABLE, f"the stock service did not answer: {error}") from None
        context.mark("answered")
        context.bytes_sent, context.bytes_received = len(reply.request.content), len(reply.content)
        if reply.status_code != 200:
            raise InferenceError(code_from_http(reply.status_code), reply.text[:200])
        found = reply.json()
        outputs = [_tensor(item["name"], item["datatype"], item["shape"], item["data"]) for item in found["outputs"]]
        context.mark("read")
        return InferResponse(found["model_name"], found["model_version"], outputs)

    async def close(self) -> None:
        await self._client.aclose()
        await self.inner.close()


def connect_binary(target: Target) -> Inference:
    return StockBinaryRest(target)


class StockBinaryRest(Wrapper):
    """aiohttp with bytes made by orjson and numpy, a shared session."""

    _session: aiohttp.ClientSession | None = None

    def __init__(self, target: Target) -> None:
        super().__init__(rest.connect(target))
        self._url = f"http://{address(target, STOCK_PORT)}/binary/v2/models"
        self._connections = target.connections

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=self._connections))
        head, body = _to_binary({"parameters": request.parameters}, "inputs", request.inputs)
        context.mark("sent")
        limit = aiohttp.ClientTimeout(total=timeout_of(context.deadline))
        url, headers = f"{self._url}/{request.model_name}/infer", {_HEADER_LENGTH: str(head)}
        try:
            async with self._session.post(url, data=body, headers=headers, timeout=limit) as reply:
                found = await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise InferenceError(Code.UNAVAILABLE, f"the stock service did not answer: {error}") from None
        context.mark("answered")
        context.bytes_sent, context.bytes_received = len(body), len(found)
        if reply.status != 200:
            raise InferenceError(code_from_http(reply.status), found[:200].decode("utf-8", "replace"))
        described, outputs = _from_binary(found, int(reply.headers[_HEADER_LENGTH]), "outputs")
        context.mark("read")
        return InferResponse(described["model_name"], described["model_version"], outputs)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        await self.inner.close()


def _to_binary(described: dict[str, Any], name: str, tensors: list[Tensor]) -> tuple[int, bytes]:
    """Length of the JSON head, and head and tensors (OIP's binary tensor extension)."""
    raws = [tensor.array.tobytes() for tensor in tensors]
    items = [
        {"name": t.name, "datatype": t.datatype.name, "shape": list(t.shape), "parameters": {_SIZE: len(raw)}}
        for t, raw in zip(tensors, raws, strict=True)
    ]
    head = orjson.dumps({**described, name: items})
    return len(head), b"".join([head, *raws])


def _from_binary(body: bytes, head: int, name: str) -> tuple[dict[str, Any], list[Tensor]]:
    described = orjson.loads(body[:head])
    tensors: list[Tensor] = []
    for item in described[name]:
        row, size = datatype(item["datatype"]), item["parameters"][_SIZE]
        array = np.frombuffer(body, row.dtype, size // row.dtype.itemsize, head).reshape(item["shape"])
        tensors.append(Tensor.from_array(item["name"], array, row))
        head += size
    return described, tensors


def _document(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype.name,
        "shape": list(tensor.shape),
        "data": tensor.array.ravel().tolist(),
    }


def _tensor(name: str, kind: str, shape: list[int], data: list[float]) -> Tensor:
    row = datatype(kind)
    return Tensor.from_array(name, np.array(data, row.dtype).reshape(shape), row)
