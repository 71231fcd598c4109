"""`Codec`, the one seam between messages and bodies: what every encoding of an infer request and its reply can do.

An endpoint that reads bodies and a client that sends them know this and no encoding. The line of a codec stands in
registry.py; a wire's line names it there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.protocol.tensors import Buffer

JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
PROTOBUF_TYPE = "application/x-protobuf"
FRAMING_HEADER = "inference-header-content-length"
"""OIP's binary extension: bytes of JSON before the tensors. A body's framing is part of its codec."""


@dataclass(slots=True)
class Encoded:
    """A message as the parts of its body, and the header fields that describe it."""

    parts: list[Buffer]
    header_length: int | None
    """Bytes of JSON before binary tensors; None where no tensors follow."""
    media_type: str = JSON_TYPE

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The HTTP headers that describe the body."""
        fields = [("content-type", self.media_type)]
        if self.header_length is not None:
            fields.append((FRAMING_HEADER, str(self.header_length)))
        return fields


class Codec(ABC):
    """Both messages to bodies and back. Every decoding gives a message or raises InferenceError, whatever the bytes are."""

    media_type: ClassVar[str]

    def framing(self, header: str | None, size: int) -> int | None:  # noqa: ARG002 - most codecs have none
        """The value of the framing header of a body of `size` bytes; None without one."""
        return None

    def text_size(self, size: int, framing: int | None) -> int:  # noqa: ARG002
        """Bytes of a body that are text, which takes long to read (limits.is_heavy)."""
        return 0

    @abstractmethod
    def encode_request(self, request: InferRequest) -> Encoded:
        """The request's body; NOT_CARRIED for a tensor that this codec has no form for."""

    @abstractmethod
    def decode_request(
        self, body: Buffer, framing: int | None, model_name: str, model_version: str = ""
    ) -> tuple[InferRequest, ReplyForm]:
        """The request in a body, for the model that the path names, and the form that its reply is to have."""

    @abstractmethod
    def encode_response(self, response: InferResponse, form: ReplyForm) -> Encoded:
        """The reply's body in that form."""

    @abstractmethod
    def decode_response(self, body: Buffer, header: str | None) -> InferResponse:
        """The reply in a body; `header` is its framing header."""
