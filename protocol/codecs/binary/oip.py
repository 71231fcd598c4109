"""OIP's REST bodies as a `Codec`: JSON, and the binary tensor data extension.

They read the same bodies and write the replies that are asked for; they differ in what a client sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.codec import BINARY_TYPE, JSON_TYPE, Codec, Encoded
from crossover.protocol.codecs.json import codec as json_codec

if TYPE_CHECKING:
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.protocol.tensors import Buffer


class OipJson(Codec):
    media_type = JSON_TYPE

    def framing(self, header: str | None, size: int) -> int | None:
        return binary_codec.header_length(header, size)

    def text_size(self, size: int, framing: int | None) -> int:
        return size if framing is None else framing

    def encode_request(self, request: InferRequest) -> Encoded:
        return Encoded([json_codec.encode_request(request)], None)

    def decode_request(
        self, body: Buffer, framing: int | None, model_name: str, model_version: str = ""
    ) -> tuple[InferRequest, ReplyForm]:
        return binary_codec.decode_request(body, framing, model_name, model_version)

    def encode_response(self, response: InferResponse, form: ReplyForm) -> Encoded:
        return binary_codec.encode_response(response, form)

    def decode_response(self, body: Buffer, header: str | None) -> InferResponse:
        return binary_codec.decode_response(body, self.framing(header, len(body)))


class OipBinary(OipJson):
    media_type = BINARY_TYPE

    def encode_request(self, request: InferRequest) -> Encoded:
        return binary_codec.encode_request(request)


JSON, BINARY = OipJson(), OipBinary()
