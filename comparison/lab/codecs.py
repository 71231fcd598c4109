"""Bodies that only the lab sends: OIP's JSON as it is usually written, by the standard library. Pure; no I/O."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.protocol.codecs.codec import Codec, Encoded
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.datatypes import datatype
from crossover.protocol.errors import invalid
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.tensors import Buffer


class StandardJson(Codec):
    """JSON by the standard library, with each tensor's data as `data_of` gives it and `tensor_of` reads it."""

    def __init__(
        self, media_type: str, data_of: Callable[[Tensor], Any], tensor_of: Callable[[str, str, list[int], Any], Tensor]
    ) -> None:
        self.media_type = media_type  # type: ignore[misc]
        self._data_of = data_of
        self._tensor_of = tensor_of

    def text_size(self, size: int, framing: int | None) -> int:  # noqa: ARG002
        return size

    def encode_request(self, request: InferRequest) -> Encoded:
        return self._encoded({"parameters": request.parameters, "inputs": self._objects(request.inputs)})

    def decode_request(
        self,
        body: Buffer,
        framing: int | None,  # noqa: ARG002
        model_name: str,
        model_version: str = "",
    ) -> tuple[InferRequest, ReplyForm]:
        document = _read(body)
        inputs = self._tensors(document, "inputs")
        return InferRequest(model_name, inputs, model_version, parameters=document.get("parameters", {})), ReplyForm()

    def encode_response(self, response: InferResponse, form: ReplyForm) -> Encoded:  # noqa: ARG002
        outputs = self._objects(response.outputs)
        return self._encoded(
            {"model_name": response.model_name, "model_version": response.model_version, "outputs": outputs}
        )

    def decode_response(self, body: Buffer, header: str | None) -> InferResponse:  # noqa: ARG002
        document = _read(body)
        return InferResponse(document["model_name"], document["model_version"], self._tensors(document, "outputs"))

    def _encoded(self, document: dict[str, Any]) -> Encoded:
        return Encoded([json.dumps(document, separators=(",", ":")).encode()], None, self.media_type)

    def _objects(self, tensors: list[Tensor]) -> list[dict[str, Any]]:
        return [
            {"name": t.name, "datatype": t.datatype.name, "shape": list(t.shape), "data": self._data_of(t)}
            for t in tensors
        ]

    def _tensors(self, document: dict[str, Any], key: str) -> list[Tensor]:
        try:
            return [
                self._tensor_of(item["name"], item["datatype"], item["shape"], item["data"]) for item in document[key]
            ]
        except (KeyError, TypeError, ValueError, OverflowError, binascii.Error):
            raise invalid(f"'{key}' of the body are not tensors of this codec") from None


def _read(body: Buffer) -> dict[str, Any]:
    try:
        document = json.loads(bytes(body))
    except (ValueError, RecursionError):
        raise invalid("the body is not JSON") from None
    if type(document) is not dict:
        raise invalid("the body is not a JSON object")
    return document


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


STDLIB = StandardJson("application/vnd.crossover.stdlib+json", _as_list, _from_list)
BASE64 = StandardJson("application/vnd.crossover.base64+json", _as_base64, _from_base64)
