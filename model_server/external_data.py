"""Tensors that an ONNX file keeps in other files: each must lie inside the model's own folder.

ONNX Runtime follows `location` wherever it leads, so a model could make the server map any file of the host. The file
is walked as protobuf wire format, just far enough to find every TensorProto.external_data entry; nothing is parsed that
could be large. Field numbers: onnx.proto (ModelProto.graph 7, GraphProto.node 1 / initializer 5 / sparse_initializer 15,
NodeProto.attribute 5, AttributeProto.t 5 / g 6 / tensors 10 / graphs 11, TensorProto.external_data 13,
StringStringEntryProto.key 1 / value 2, ModelProto.functions 25, FunctionProto.node 7, SparseTensorProto.values 1 / indices 2).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from model_server.onnx_session import ModelError

_CHILDREN = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
_MAX_DEPTH = 64
SUBGRAPH = ""
"""Stands among the locations for a graph inside a node: the body of If, Loop or Scan."""


def check(path: Path) -> bool:
    """Whether the graph has control flow (If, Loop, Scan); ModelError when it names data outside its own folder."""
    if path.stat().st_size == 0:
        raise ModelError("the file is empty")
    control_flow = False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        try:
            for location in _locations(view, 0, len(view), "model", 0):
                if location is SUBGRAPH:
                    control_flow = True
                else:
                    _check_location(path, location)
        except (IndexError, ValueError):
            raise ModelError("the file is not an ONNX model: it ends too early or is corrupt") from None
    return control_flow


def _check_location(path: Path, location: str) -> None:
    target = (path.parent / location).resolve()
    if not target.is_relative_to(path.parent.resolve()):
        raise ModelError(f"external data '{location[:80]}' points outside the model's folder")


def _varint(view: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


def _locations(view: mmap.mmap, at: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError
    key = value = b""
    while at < end:
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == 2:
            size, at = _varint(view, at)
            if at + size > end:
                raise ValueError
            child = _CHILDREN[kind].get(number)
            if child is not None:
                if child == "graph" and kind == "attribute":
                    yield SUBGRAPH
                yield from _locations(view, at, at + size, child, depth + 1)
            elif kind == "entry":
                key, value = (view[at : at + size], value) if number == 1 else (key, view[at : at + size])
            at += size
        else:
            at = _varint(view, at)[1] if wire == 0 else at + {1: 8, 5: 4}.get(wire, end + 1)
    if kind == "entry" and key == b"location":
        yield value.decode("utf-8", "replace")
