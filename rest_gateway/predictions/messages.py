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
from crossover.transport.grpc.messages import PREFIX_BYTES, prefixed
from crossover.transport.http2 import frames as http2

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.recording import Recording

SHOWN_BYTES = 8 << 10
"""Bytes of tensors that a message may have to be shown with them, and of text and of binary tensors in a body."""
HEX_BYTES = 2 << 10
"""Bytes of a framed gRPC message that are shown in hexadecimal."""
_LIBRARY = "grpcio"
_ADDED = (
    "grpcio adds :authority, :scheme, user-agent, grpc-accept-encoding and grpc-timeout below us, reads the response headers, "
    "and tells none of it; the upstream grpc-lean shows all"
)
_FRAME_TYPES = {http2.DATA: "DATA", http2.HEADERS: "HEADERS"}
_FRAME_FLAGS = {
    http2.DATA: ((http2.END_STREAM, "END_STREAM"),),
    http2.HEADERS: ((http2.END_HEADERS, "END_HEADERS"), (http2.END_STREAM, "END_STREAM")),
}
_ALWAYS = [["content-type", "application/grpc"], ["te", "trailers"]]
"""What every gRPC request has (PROTOCOL-HTTP2), whatever library sends it."""
_STREAMED = "a stream's metadata and trailers belong to the stream as a whole, not to one message of it"


def grpc(recording: Recording) -> dict[str, Any]:
    """The request's and the reply's message as protobuf JSON, with what HTTP/2 carries beside them."""
    reply_type = pb.ModelStreamInferResponse if recording.stream else pb.ModelInferResponse
    ours = bool(recording.head)
    left_out = _STREAMED if recording.stream else None if ours else _ADDED
    return {
        "request": {
            "method": "POST",
            "path": recording.path,
            "version": "HTTP/2",
            "metadata": _fields(recording.head) if ours else [*_ALWAYS, *_fields(recording.sent)],
            "frames": _frames(recording, is_sent=True),
            "frame_prefix_bytes": PREFIX_BYTES,
            **_message(pb.ModelInferRequest, recording.request),
            "library": None if ours else _LIBRARY,
            "stream": recording.stream,
            "left_out": left_out,
        },
        "response": {
            "http_status": _http_status(recording),
            "headers": _fields(recording.reply_head),
            "frames": _frames(recording, is_sent=False),
            **_message(reply_type, recording.reply),
            "trailers": [] if recording.stream or recording.status is None else _trailers(recording),
            "left_out": left_out,
            "grpc_status": _status_name(recording.status),
        },
    }


def _http_status(recording: Recording) -> int | None:
    """The `:status` that came; a library that tells a gRPC status had 200."""
    if recording.head:
        text = dict(recording.reply_head or recording.reply_trailers).get(":status", "")
        return int(text) if text.isdigit() else None
    return None if recording.status is None else 200


def _frames(recording: Recording, *, is_sent: bool) -> list[dict[str, Any]]:
    """The call's HEADERS and DATA frames in one direction (RFC 9113 6.1, 6.2); DATA frames in a row count as one."""
    return [
        {"type": _FRAME_TYPES[kind], "flags": [name for bit, name in _FRAME_FLAGS[kind] if flags & bit], "bytes": size}
        for kind, flags, size in recording.joined_frames(is_sent=is_sent)
    ]


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
    if recording.head:
        return _fields(recording.reply_trailers)
    message = [["grpc-message", recording.details]] if recording.details else []
    return [["grpc-status", str(recording.status)], *message, *_fields(recording.received)]


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
    framed = prefixed(len(data)) + data[:HEX_BYTES] if data else b""
    return {
        "message_type": kind.DESCRIPTOR.full_name,
        "message": to_object(message),
        "message_cut": long,
        "framed_hex": framed.hex(),
        "framed_cut": len(data) > HEX_BYTES,
    }


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
