"""What must be known of an ONNX file before ONNX Runtime opens it, and a copy that nobody else writes to.

ONNX Runtime follows an external tensor's `location` wherever it leads, so a model could make the server map any file of
the host; it does not tell a tensor without a shape from a scalar; and it maps external data, so that a file which is
overwritten in place would change a model that serves, or end the process (SIGBUS). Hence `snapshot`.

The file is walked as protobuf wire format, just far enough; nothing is parsed that could be large. Field numbers:
onnx.proto (ModelProto.graph 7 / training_info 20 / functions 25, TrainingInfoProto.initialization 1 / algorithm 2,
GraphProto.node 1 / initializer 5 / input 11 / output 12 / sparse_initializer 15, FunctionProto.node 7 /
attribute_proto 11, NodeProto.op_type 4 / attribute 5, AttributeProto.t 5 / g 6 / tensors 10 / graphs 11 /
sparse_tensor 22 / sparse_tensors 23, SparseTensorProto.values 1 / indices 2, TensorProto.external_data 13,
StringStringEntryProto.key 1 / value 2, ValueInfoProto.name 1 / type 2, TypeProto.tensor_type 1, Tensor.elem_type 1 / shape 2).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from crossover.model_server import own_files
from crossover.model_server.model_error import ModelError
from crossover.model_server.shared_files import COPIES
from crossover.protocol.codecs.protobuf.wire import read_varint
from crossover.protocol.names import quoted
from crossover.service.file_lock import held

_CHILDREN = {
    "model": {7: "main", 20: "training", 25: "function"},
    "training": {1: "graph of training", 2: "graph of training"},
    "main": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "graph of training": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "input": {2: "type"},
    "output": {2: "type"},
    "type": {1: "tensor type"},
    "tensor type": {},
    "entry": {},
}
_STRINGS = {"entry": (1, 2), "input": (1,), "output": (1,), "node": (4,)}
"""Strings that are looked at."""
_MAX_DEPTH = 64
_PREFIX, _LOCK = "crossover-load-", ".lock"
_MAX_TAG_BYTES = 5
_CACHED_CONTEXT = b"EPContext"
"""An operator of ONNX Runtime's whose attribute `ep_cache_context` names a file for other execution providers."""
_BEYOND = {
    14: "COMPLEX64", 15: "COMPLEX128", 17: "FLOAT8E4M3FN", 18: "FLOAT8E4M3FNUZ", 19: "FLOAT8E5M2", 20: "FLOAT8E5M2FNUZ",
    21: "UINT4", 22: "INT4", 23: "FLOAT4E2M1", 24: "FLOAT8E8M0", 25: "UINT2", 26: "INT2",
}  # fmt: skip
"""TensorProto.DataType's values that the protocol has no datatype for."""
_MEMORY = "_ORT_MEM_ADDR_"
"""In a location this tells ONNX Runtime that `offset` is an address in the process's memory."""


@dataclass(slots=True)
class FileFacts:
    """What the file says."""

    control_flow: bool = False
    """Whether a node has a graph of its own (If, Loop, Scan)."""
    external: set[str] = field(default_factory=set)
    """Locations of external tensor data, as they are written."""
    unranked: set[str] = field(default_factory=set)
    """Inputs and outputs of the graph that declare no shape."""
    beyond: list[str] = field(default_factory=list)
    """Inputs and outputs whose elements the protocol has no datatype for, a phrase each."""
    element: int = 0
    """TensorProto.DataType of the type that was read last."""


@contextmanager
def snapshot(path: Path) -> Iterator[tuple[Path, FileFacts]]:
    """A private copy of the model file and its external data, for as long as it takes to open it.

    ModelError when the file is no ONNX model or names data that is not its own (own_files.py).
    """
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, held(Path(folder) / _LOCK):
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        facts = read(copy)
        for location in sorted(facts.external):
            _copy_data(path, location, copy.parent)
        yield copy, facts
        for location in facts.external:
            COPIES.opened(copy.parent / location)


def sweep() -> None:
    """Remove the copies of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), held(folder / _LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB, os.O_RDWR):
            shutil.rmtree(folder)


def read(path: Path) -> FileFacts:
    """The facts of a file that nobody writes to; ModelError when it is no ONNX model."""
    if path.stat().st_size == 0:
        raise ModelError("the file is empty")
    facts = FileFacts()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        try:
            _walk(view, 0, len(view), "model", 0, facts)
        except (IndexError, ValueError):
            raise ModelError("the file is not an ONNX model: it ends too early or is corrupt") from None
    return facts


def _copy_data(model_file: Path, location: str, target: Path) -> None:
    source, inside = model_file.parent, PurePath(location)
    if "\0" in location or _MEMORY in location:
        raise ModelError("external data is not in a file of the model's folder")
    if own_files.escapes(location) or not own_files.is_own(source / inside, source, model_file):
        raise ModelError(f"external data {quoted(location)} points outside the model's folder")
    if not _is_file(source / inside):
        raise ModelError(f"external data {quoted(location)} is not in the model's folder")
    if (target / inside).exists():
        return  # the model's own file, as it was checked
    (target / inside).parent.mkdir(parents=True, exist_ok=True)
    COPIES.copy(source / inside, target / inside)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _walk(view: mmap.mmap, at: int, end: int, kind: str, depth: int, facts: FileFacts) -> None:
    if depth > _MAX_DEPTH:
        raise ValueError
    strings: dict[int, bytes] = {}
    shaped = kind != "tensor type"
    element = 0
    for number, start, stop in _fields(view, at, end):
        child = _CHILDREN[kind].get(number)
        if stop < 0:
            element = start if kind == "tensor type" and number == 1 else element
        elif child is not None:
            facts.control_flow |= child == "graph"
            _walk(view, start, stop, child, depth + 1, facts)
        elif number in _STRINGS.get(kind, ()):
            strings[number] = view[start:stop]
        elif kind == "tensor type" and number == 2:
            shaped = True
    if kind == "entry" and strings.get(1) == b"location":
        facts.external.add(strings.get(2, b"").decode("utf-8", "replace"))
    elif kind == "node" and strings.get(4) == _CACHED_CONTEXT:
        raise ModelError("the operator EPContext names files outside the model, which is not allowed")
    elif kind == "tensor type":
        if not shaped:
            facts.unranked.add("")  # its name stands in the port around it
        facts.element = element
    elif kind in {"input", "output"}:
        _name_port(facts, kind, strings.get(1, b"").decode("utf-8", "replace"))


def _name_port(facts: FileFacts, kind: str, name: str) -> None:
    """What was found in a port's type belongs to the port."""
    if "" in facts.unranked:
        facts.unranked.remove("")
        facts.unranked.add(name)
    if facts.element in _BEYOND:
        facts.beyond.append(f"the {kind} {quoted(name)} is {_BEYOND[facts.element]}")
    facts.element = 0


def _fields(view: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of every length-delimited field; number, value and -1 of a varint; others are passed over.

    A tag is a number of 32 bits in at most 5 bytes. Parsers cut longer ones in different ways, so that one of them would
    see a field where another sees none; such a file is refused.
    """
    while at < end:
        began = at
        tag, at = read_varint(view, at)
        if at - began > _MAX_TAG_BYTES or not 8 <= tag < 1 << 32:
            raise ValueError
        wire = tag & 7
        if wire == 2:
            size, at = read_varint(view, at)
            if at + size > end:
                raise ValueError
            yield tag >> 3, at, at + size
            at += size
        elif wire == 0:
            value, at = read_varint(view, at)
            yield tag >> 3, value, -1
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError
    if at != end:
        raise ValueError
