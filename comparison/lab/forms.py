"""Bodies that only the lab sends: the same request and reply in another encoding. Pure; no I/O."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.datatypes import datatype
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Form:
    """One encoding of both messages."""

    name: str
    content_type: str
    encode_request: Callable[[InferRequest], bytes]
    decode_request: Callable[[bytes], InferRequest]
    encode_response: Callable[[InferResponse], bytes]
    decode_response: Callable[[bytes], InferResponse]


def _as_list(tensor: Tensor) -> list[Any]:
    flat: list[Any] = tensor.array.ravel().tolist()
    return flat


def _from_list(name: str, kind: str, shape: list[int], data: list[Any]) -> Tensor:
    row = datatype(kind)
    return Tensor.from_array(name, np.array(data, row.dtype).reshape(shape), row)


def _as_base64(tensor: Tensor) -> str:
    return base64.b64encode(tensor.raw).decode()


def _from_base64(name: str, kind: str, shape: list[int], data: str) -> Tensor:
    return Tensor.from_raw(name, kind, shape, base64.b64decode(data))


def _json_form(name: str, data_of: Callable[[Tensor], Any], tensor_of: Callable[..., Tensor]) -> Form:
    """JSON by the standard library, with each tensor's data as `data_of` gives it."""

    def tensors(found: list[Tensor]) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "datatype": t.datatype.name, "shape": list(t.shape), "data": data_of(t)} for t in found
        ]

    def from_objects(items: list[dict[str, Any]]) -> list[Tensor]:
        return [tensor_of(item["name"], item["datatype"], item["shape"], item["data"]) for item in items]

    def encode_request(request: InferRequest) -> bytes:
        document = {"model": request.model_name, "parameters": request.parameters, "inputs": tensors(request.inputs)}
        return json.dumps(document, separators=(",", ":")).encode()

    def decode_request(body: bytes) -> InferRequest:
        document = json.loads(body)
        return InferRequest(document["model"], from_objects(document["inputs"]), parameters=document["parameters"])

    def encode_response(response: InferResponse) -> bytes:
        document = {
            "model": response.model_name,
            "version": response.model_version,
            "outputs": tensors(response.outputs),
        }
        return json.dumps(document, separators=(",", ":")).encode()

    def decode_response(body: bytes) -> InferResponse:
        document = json.loads(body)
        return InferResponse(document["model"], document["version"], from_objects(document["outputs"]))

    return Form(name, "application/json", encode_request, decode_request, encode_response, decode_response)


FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        Form(
            "protobuf",
            "application/x-protobuf",
            protobuf_codec.encode_request,
            protobuf_codec.decode_request,
            protobuf_codec.encode_response,
            protobuf_codec.decode_response,
        ),
        _json_form("stdlib", _as_list, _from_list),
        _json_form("base64", _as_base64, _from_base64),
    )
}
