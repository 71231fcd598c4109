"""REST as usually written: httpx with `json=` on one side, FastAPI with pydantic models on the other, nothing tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from clients import rest
from comparison.lab.wires import STOCK_PORT, address
from protocol.datatypes import datatype
from protocol.deadline import timeout_of
from protocol.errors import Code, InferenceError, code_from_http
from protocol.inference import CallContext, Wrapper
from protocol.messages import InferRequest, InferResponse
from protocol.tensors import Tensor

if TYPE_CHECKING:
    from protocol.inference import Inference
    from protocol.wires import Target


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
