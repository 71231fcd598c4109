"""gRPC's own messages as bodies: ModelInferRequest and ModelInferResponse over plain HTTP, without gRPC's framing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.protocol.codecs.codec import PROTOBUF_TYPE, Codec, Encoded
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.errors import invalid

if TYPE_CHECKING:
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.protocol.tensors import Buffer


class ProtobufBody(Codec):
    media_type = PROTOBUF_TYPE

    def __init__(self, typed: bool) -> None:
        self._typed = typed

    def encode_request(self, request: InferRequest) -> Encoded:
        return Encoded([protobuf_codec.encode_request(request, typed=self._typed)], None, PROTOBUF_TYPE)

    def decode_request(
        self,
        body: Buffer,
        framing: int | None,  # noqa: ARG002
        model_name: str,
        model_version: str = "",
    ) -> tuple[InferRequest, ReplyForm]:
        request = protobuf_codec.decode_request(body)
        for in_message, in_path, what in (
            (request.model_name, model_name, "model"),
            (request.model_version, model_version, "version"),
        ):
            if in_message and in_message != in_path and in_path:
                raise invalid(f"the path names {what} '{in_path[:80]}', but the message names '{in_message[:80]}'")
        request.model_name = model_name
        request.model_version = model_version or request.model_version
        return request, ReplyForm(default=True)

    def encode_response(self, response: InferResponse, form: ReplyForm) -> Encoded:  # noqa: ARG002
        return Encoded([protobuf_codec.encode_response(response, typed=self._typed)], None, PROTOBUF_TYPE)

    def decode_response(self, body: Buffer, header: str | None) -> InferResponse:  # noqa: ARG002
        return protobuf_codec.decode_response(body)


PROTOBUF, TYPED = ProtobufBody(typed=False), ProtobufBody(typed=True)
