"""The registry of codecs: one line each, imported on use. A codec of another package is a line added to `CODECS`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

from crossover.protocol.codecs.codec import BINARY_TYPE, JSON_TYPE, PROTOBUF_TYPE
from crossover.protocol.datatype_names import DATATYPE_NAMES

if TYPE_CHECKING:
    from crossover.protocol.codecs.codec import Codec

EVERYTHING = frozenset(DATATYPE_NAMES)
NO_HALF_FLOATS = EVERYTHING - {"FP16", "BF16"}


@dataclass(frozen=True, slots=True)
class CodecLine:
    """One encoding, and what it can carry."""

    name: str
    factory: str
    """`module:object`, imported on use."""
    media_type: str
    carries: frozenset[str] = EVERYTHING
    """Datatypes that have a form."""
    bytes_as_text: bool = False
    """True when BYTES travel as text, so that they must be UTF-8."""

    def load(self) -> Codec:
        return _loaded(self.factory)


@cache  # of names in code, not of what a peer says
def _loaded(factory: str) -> Codec:
    module, _, name = factory.partition(":")
    return cast("Codec", getattr(importlib.import_module(module), name))


_HERE = "crossover.protocol.codecs"
JSON = CodecLine("json", f"{_HERE}.binary.oip:JSON", JSON_TYPE, NO_HALF_FLOATS, bytes_as_text=True)
BINARY = CodecLine("binary", f"{_HERE}.binary.oip:BINARY", BINARY_TYPE)
PROTOBUF = CodecLine("protobuf", f"{_HERE}.protobuf.body:PROTOBUF", PROTOBUF_TYPE)
TYPED = CodecLine("protobuf-typed", f"{_HERE}.protobuf.body:TYPED", PROTOBUF_TYPE, NO_HALF_FLOATS)

CODECS: dict[str, CodecLine] = {line.name: line for line in (JSON, BINARY, PROTOBUF, TYPED)}
_OIP_TYPES = frozenset({JSON_TYPE, BINARY_TYPE})


def codec_for(content_type: str | None) -> Codec:
    """The codec of a request's body by its `Content-Type`.

    OIP's JSON and binary bodies tell themselves apart by their framing, and its clients send any type or none
    (tritonclient), so every type that no other codec has is theirs.
    """
    if content_type is not None and content_type not in _OIP_TYPES:
        media_type = content_type.partition(";")[0].strip().lower()
        for line in CODECS.values():
            if line.media_type == media_type and media_type not in _OIP_TYPES:
                return line.load()
    return _loaded(JSON.factory)
