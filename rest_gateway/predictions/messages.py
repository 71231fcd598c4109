"""The upstream's messages for a reader: what the client recorded of the real ones, cut where it is long."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError, Message

from crossover.endpoints.grpc.errors import STATUS_CODES
from crossover.protocol.codecs.codec import FRAMING_HEADER, PROTOBUF_TYPE
from crossover.protocol.codecs.proto_json import to_object
from crossover.protos import inference as pb
from crossover.rest_gateway.predictions.shown_fields import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.recording import Recording

SHOWN_BYTES = 8 << 10
"""Bytes of tensors that a message may have to be shown with them, and of text and of binary tensors in a body."""
FRAME_PREFIX_BYTES = 5
"""gRPC puts one byte of flags and four of length before each message (PROTOCOL-HTTP2)."""
_ALWAYS = [["content-type", "application/grpc"], ["te", "trailers"]]
"""What a gRPC library adds to every request (PROTOCOL-HTTP2); it does not tell, so this is not recorded."""
_STREAMED = "a stream's metadata and trailers belong to the stream as a whole, not to one message of it"


def grpc(recording: Recording) -> dict[str, Any]:
    """The request's and the reply's message as protobuf JSON, with what HTTP/2 carries beside them."""
    reply_type = pb.ModelStreamInferResponse if recording.stream else pb.ModelInferResponse
    left_out = _STREAMED if recording.stream else None
    return {
        "request": {
            "method": "POST",
            "path": recording.path,
            "version": "HTTP/2",
            "metadata": [*_ALWAYS, *_fields(recording.sent)],
            "frame_prefix_bytes": FRAME_PREFIX_BYTES,
            **_message(pb.ModelInferRequest, recording.request),
            "left_out": left_out,
        },
        "response": {
            "http_status": None if recording.status is None else 200,
            **_message(reply_type, recording.reply),
            "trailers": [] if recording.stream or recording.status is None else _trailers(recording),
            "left_out": left_out,
            "grpc_status": _status_name(recording.status),
        },
    }


def rest(recording: Recording) -> dict[str, Any]:
    """The OIP REST request and reply; binary bodies show their JSON head and the bytes that follow it, protobuf is bytes."""
    return {
        "request": {
            "method": "POST",
            "path": recording.path,
            "version": "HTTP/1.1",
            "headers": _fields(recording.sent),
            **_body(recording.sent, recording.request),
        },
        "response": {
            "http_status": recording.status,
            "headers": _fields(recording.received),
            **_body(recording.received, recording.reply),
        },
    }


def process(_: Recording) -> dict[str, Any]:
    """There is no wire: the engine reads the gateway's own arrays."""
    return {"request": {"call": "Inference.infer in this process"}, "response": {"http_status": None}}


SHOWN: dict[str, Callable[[Recording], dict[str, Any]]] = {"grpc": grpc, "rest": rest, "process": process}


def _status_name(number: int | None) -> str | None:
    if number is None:
        return None
    return STATUS_CODES[number].name if number in STATUS_CODES else str(number)


def _trailers(recording: Recording) -> list[list[str]]:
    said = [["grpc-message", recording.details]] if recording.details else []
    return [["grpc-status", str(recording.status)], *said, *_fields(recording.received)]


def _fields(fields: list[tuple[str, str]] | list[tuple[str, str | bytes]]) -> list[list[str]]:
    """Names, and values that are kept, as text; binary metadata as the base64 that travels (PROTOCOL-HTTP2)."""
    return shown(
        (name, base64.b64encode(value).decode().rstrip("=") if isinstance(value, bytes) else value)
        for name, value in fields
    )


def _message(kind: type[Message], data: bytes) -> dict[str, Any]:
    try:
        message = kind.FromString(data)
    except DecodeError:
        return {"message_type": kind.DESCRIPTOR.full_name, "message": {}, "message_cut": True}
    long = len(data) > SHOWN_BYTES
    if long:
        _drop_contents(message)
    return {"message_type": kind.DESCRIPTOR.full_name, "message": to_object(message), "message_cut": long}


def _drop_contents(message: Any) -> None:
    """Leave the tensors' descriptions and take their elements out."""
    inner = message.infer_response if isinstance(message, pb.ModelStreamInferResponse) else message
    raws, tensors = ("raw_input_contents", "inputs") if hasattr(inner, "inputs") else ("raw_output_contents", "outputs")
    inner.ClearField(raws)
    for tensor in getattr(inner, tensors):
        tensor.ClearField("contents")


def _body(fields: list[tuple[str, str]] | list[tuple[str, str | bytes]], body: bytes) -> dict[str, Any]:
    values = {name.lower(): str(value) for name, value in fields}
    length = values.get(FRAMING_HEADER, "")
    at = int(length) if length.isdigit() else 0 if values.get("content-type") == PROTOBUF_TYPE else len(body)
    text, tail = body[:at], body[at:]
    shown: dict[str, Any] = {
        "body": text[:SHOWN_BYTES].decode("utf-8", "replace"),
        "body_cut": len(text) > SHOWN_BYTES or len(tail) > SHOWN_BYTES,
    }
    return shown | ({"binary_hex": tail[:SHOWN_BYTES].hex()} if tail else {})
