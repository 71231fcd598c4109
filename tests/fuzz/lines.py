"""Line coverage of the parsers: which lines of their functions the corpus, and what is made of it, reaches."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType, ModuleType
from typing import Any

LARGE = 1200 << 10
"""Bytes of the hostile shapes that are run for coverage: what is done for large bodies alone is reached too."""
BESIDE = {
    "endpoints.rest.v1": {"v1_models", "v1_model", "v1_predict", "_answer", "_by_row", "_by_column", "_value", "_mapped",
                          "_bytes_value", "_float_value"},
    "model_server.config": {"read", "completed", "wanted_versions", "absent_versions", "most_instances"},
    "protocol.codecs.json.codec": {"encode_request", "encode_response", "request_document", "response_document", "_reply_template",
                                   "_output_object", "shared_or"},
    "protocol.codecs.json.values": {"to_text", "_flat_text", "numbers_text", "_inside", "_with_infinities", "_strings", "not_carried"},
    "protocol.codecs.json.text": {"dumps"},
    "protocol.codecs.protobuf.codec": {"repository_parameters", "set_repository_parameters", "encode_request", "_encoded_request",
        "_half_surrogate", "encode_response", "_encoded_response", "_template_key", "encode_stream_response", "_response_parts",
        "_requested", "_with_tensors", "_with_contents"},
    "protocol.codecs.protobuf.parameters": {"set_parameters", "_set_integer", "call_fields", "_encoded"},
    "protocol.codecs.binary.codec": {"encode_request", "encode_response", "_partly_shared", "_keep", "_binary", "_joined"},
    "rest_gateway.predictions.orders": {"task", "read_patch"},
    "protocol.codecs.protobuf.contents": {"encode"},
    "protocol.codecs.protobuf.varints": {"encode"},
    "protocol.codecs.proto_json": {"_scalar", "_field_value"},
    "rest_gateway.api.bodies": {"read_document"},
    "rest_gateway.api.conditions": {"tag_of", "stale", "is_current", "_any"},
    "rest_gateway.predictions.keys": {"fingerprint", "earlier_reply"},
    "transport.grpc.metadata": {"timeout_text"},
    "transport.grpc.messages": {"prefixed"},
    "transport.http1.head": {"read", "__init__"},
    "transport.http1.client_connection": {"__init__", "usable", "is_fresh", "_has_something_to_read", "abort", "exchange", "_set_timer",
        "_look", "_say_if_silent", "connection_made", "_read_last_words", "connection_lost", "too_large"},
    "transport.http2.connection": {"send_headers", "send_data", "send_message", "grant", "reset", "ping", "goaway", "blocked", "may_open",
        "last_stream_taken", "_put_headers", "_pump", "_resume", "open", "abandon", "take_output", "_put_reset"},
    "transport.http2.frames": {"head", "frame", "number", "settings"},
    "transport.http2.header_blocks": {"limit", "block", "_leaves_table", "literal", "_name_text", "_text"},
}  # fmt: skip
"""Functions beside the parsers: what writes, waits or connects, which other tests hold."""
LEAST = 0.95
"""Of the lines of all parsers together, and a goal for each."""


def lines_of(module: ModuleType) -> set[int]:
    """The lines with code in functions of a module, without their first one, which only says that they are there."""
    source = compile(inspect.getsource(module), str(module.__file__), "exec")
    beside = BESIDE.get(module.__name__.removeprefix("crossover."), frozenset())
    found: set[int] = set()
    for code in _functions(source):
        if code.co_name in beside or code.co_name in ("__init__", "__len__"):  # most ran at import
            continue
        found |= {line for *_, line in code.co_lines() if line is not None and line != code.co_firstlineno}
    return found


def _functions(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if not _is_class(constant):
                yield constant
            yield from _functions(constant)


def _is_class(code: CodeType) -> bool:
    return "__qualname__" in code.co_names and not code.co_flags & inspect.CO_OPTIMIZED


class Lines:
    """What was reached of some modules."""

    def __init__(self, modules: Iterable[ModuleType]) -> None:
        self._modules = {str(module.__file__): module for module in modules}
        self._wanted = {name: lines_of(module) for name, module in self._modules.items()}
        self._reached: dict[str, set[int]] = {name: set() for name in self._modules}

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count the lines that run in this thread within the block."""
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            yield
        finally:
            sys.settrace(before)

    def _entered(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        reached = self._reached.get(frame.f_code.co_filename)
        if reached is None:
            return None

        def line(frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "line":
                reached.add(frame.f_lineno)
            return line

        return line

    def missed(self) -> dict[str, list[int]]:
        """Lines that nothing has reached, by module."""
        return {
            module.__name__: sorted(self._wanted[name] - self._reached[name]) for name, module in self._modules.items()
        }

    def shares(self) -> dict[str, float]:
        """The share that was reached of each module."""
        return {
            module.__name__: len(self._wanted[name] & self._reached[name]) / max(1, len(self._wanted[name]))
            for name, module in self._modules.items()
        }

    @property
    def share(self) -> float:
        """The share of all lines together."""
        wanted = sum(map(len, self._wanted.values()))
        return sum(len(self._wanted[name] & self._reached[name]) for name in self._wanted) / max(1, wanted)
