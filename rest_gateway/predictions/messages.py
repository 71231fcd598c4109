"""The upstream's messages for a reader: made again by the codec that made the real ones, and cut when they are long."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from protocol import binary_codec, json_codec, protobuf_codec, timeline
from protocol.errors import InferenceError
from protocol.proto_json import to_object
from protocol.reply_form import ReplyForm
from protos import inference as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from protocol.inference import CallContext
    from protocol.messages import InferRequest, InferResponse
    from protocol.tensors import Tensor

SHOWN_ELEMENTS = 2048
"""Tensors with more elements are shown without them."""
GRPC_METHOD = f"/{pb.SERVICE}/ModelInfer"
GRPC_STREAM_METHOD = f"/{pb.SERVICE}/ModelStreamInfer"
_LEFT_OUT = "the message's number on the stream, the time left for it, and the server's stamps (parameters crossover_*)"
FRAME_PREFIX_BYTES = 5
"""gRPC puts one byte of flags and four of length before each message (PROTOCOL-HTTP2)."""


def grpc(upstream: str, request: InferRequest, response: InferResponse, context: CallContext) -> dict[str, Any]:
    """ModelInferRequest and ModelInferResponse as protobuf JSON, with what HTTP/2 carries beside them.

    On a stream, metadata and trailers belong to the stream as a whole, so the client puts what a unary call has there
    into the messages, under names of its own; these are left out here, and `left_out` says so.
    """
    typed = upstream == "grpc-typed"
    streamed = upstream == "grpc-stream"
    beside = [] if streamed else _travelling(context)
    sent = pb.ModelInferRequest.FromString(protobuf_codec.encode_request(_short_request(request), typed=typed))
    got = pb.ModelInferResponse.FromString(protobuf_codec.encode_response(_short_response(response), typed=typed))
    return {
        "request": {
            "method": "POST",
            "path": GRPC_STREAM_METHOD if streamed else GRPC_METHOD,
            "version": "HTTP/2",
            "metadata": [["content-type", "application/grpc"], ["te", "trailers"], *beside],
            "frame_prefix_bytes": FRAME_PREFIX_BYTES,
            "message_type": sent.DESCRIPTOR.full_name,
            "message": to_object(sent),
            "message_cut": _is_long(request.inputs),
            "left_out": _LEFT_OUT if streamed else None,
        },
        "response": {
            "http_status": 200,
            "message_type": got.DESCRIPTOR.full_name,
            "message": to_object(got),
            "message_cut": _is_long(response.outputs),
            "trailers": [] if streamed else [["grpc-status", "0"], *_stamps(context)],
            "left_out": _LEFT_OUT if streamed else None,
            "grpc_status": "OK",
        },
    }


def rest(upstream: str, request: InferRequest, response: InferResponse, context: CallContext) -> dict[str, Any]:
    """The OIP REST request and reply; binary bodies show their JSON head and the bytes that follow it."""
    binary = upstream == "rest-binary"
    version = f"/versions/{quote(request.model_version, safe='')}" if request.model_version else ""
    return {
        "request": {
            "method": "POST",
            "path": f"/v2/models/{quote(request.model_name, safe='')}{version}/infer",
            "version": "HTTP/1.1",
            **_body(lambda: _request_parts(_short_request(request), binary), _travelling(context)),
            "body_cut": _is_long(request.inputs),
        },
        "response": {
            "http_status": 200,
            **_body(lambda: _response_parts(_short_response(response), binary), _stamps(context)),
            "body_cut": _is_long(response.outputs),
        },
    }


def process(_upstream: str, _request: InferRequest, _response: InferResponse, _context: CallContext) -> dict[str, Any]:
    """There is no wire: the engine reads the gateway's own arrays."""
    return {"request": {"call": "Inference.infer in this process"}, "response": {"http_status": None}}


SHOWN: dict[str, Callable[[str, InferRequest, InferResponse, CallContext], dict[str, Any]]] = {
    "grpc": grpc,
    "rest": rest,
    "process": process,
}


def _request_parts(request: InferRequest, binary: bool) -> binary_codec.Encoded:
    if binary:
        return binary_codec.encode_request(request)
    return binary_codec.Encoded([json_codec.encode_request(request)], None)


def _response_parts(response: InferResponse, binary: bool) -> binary_codec.Encoded:
    return binary_codec.encode_response(response, ReplyForm(default=binary))


def _travelling(context: CallContext) -> list[list[str]]:
    """What the client puts beside the message: the caller's headers that travel, and the wish for the server's stamps."""
    wish = [[timeline.HEADER, "1"]] if context.timeline is not None else []
    return [*([name, value] for name, value in context.headers.items()), *wish]


def _stamps(context: CallContext) -> list[list[str]]:
    """The server's own timeline as it came back."""
    if context.timeline is None:
        return []
    server = timeline.Timeline()
    server.stamps = {
        name.removeprefix("server."): stamp
        for name, stamp in context.timeline.stamps.items()
        if name.startswith("server.")
    }
    return [[timeline.HEADER, server.to_header()]] if server.stamps else []


def _body(encode: Callable[[], binary_codec.Encoded], beside: list[list[str]]) -> dict[str, Any]:
    try:
        encoded = encode()
    except InferenceError as error:
        return {"headers": beside, "body": f"({error.message})"}
    headers = [["content-type", "application/json"], *beside]
    tail = b"".join(bytes(part) for part in encoded.parts[1:])
    if encoded.header_length is not None:
        headers = [
            ["content-type", "application/octet-stream"],
            [binary_codec.LENGTH_HEADER, str(encoded.header_length)],
            *beside,
        ]
    after_json = {"binary_hex": tail.hex()} if tail else {}
    return {"headers": headers, "body": bytes(encoded.parts[0]).decode(), **after_json}


def _is_long(tensors: list[Tensor]) -> bool:
    return any(tensor.count > SHOWN_ELEMENTS for tensor in tensors)


def _short_request(request: InferRequest) -> InferRequest:
    kept = [tensor for tensor in request.inputs if tensor.count <= SHOWN_ELEMENTS]
    return replace(request, inputs=kept)


def _short_response(response: InferResponse) -> InferResponse:
    kept = [tensor for tensor in response.outputs if tensor.count <= SHOWN_ELEMENTS]
    return replace(response, outputs=kept)
