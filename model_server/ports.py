"""What callers see of a model's inputs and outputs: the graph's ports and config.pbtxt's entries, made one.

The file may leave everything out, name fixed sizes where the graph varies, or show callers another shape (`reshape`);
it may not contradict the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crossover.model_server import reshape
from crossover.model_server.model_error import ModelError
from crossover.model_server.onnx_session import Port
from crossover.model_server.reshape import Reshape
from crossover.protocol.tensors import Shape
from crossover.protos import inference as pb


@dataclass(frozen=True, slots=True)
class Agreed:
    """Ports as callers see them, batch dimension included; and how their tensors become the model's and back."""

    inputs: list[Port]
    outputs: list[Port]
    into: dict[str, Reshape]
    back: dict[str, Reshape]
    required: list[str] = field(default_factory=list)
    """Inputs that the configuration calls optional and the graph needs."""


def agree(config: pb.ModelConfig, inputs: Sequence[Port], outputs: Sequence[Port]) -> Agreed:
    """Fill the entries of `config` from the ports; ModelError when the two contradict each other."""
    listed = {entry.name for entry in config.input}
    batched = config.max_batch_size > 0
    offered = [port for port in inputs if not (batched and port.optional and port.name not in listed and _fixed(port))]
    into: dict[str, Reshape] = {}
    back: dict[str, Reshape] = {}
    seen_inputs = _agree(config.input, offered, batched, "input", into)
    seen_outputs = _agree(config.output, outputs, batched, "output", back)
    optional = {port.name for port in seen_inputs if port.optional}
    required = [entry.name for entry in config.input if entry.optional and entry.name not in optional]
    for entry in config.input:
        entry.optional = entry.name in optional
    from_model = {
        name: Reshape(reshape_back.target, reshape_back.source, batched) for name, reshape_back in back.items()
    }
    return Agreed(seen_inputs, seen_outputs, into, from_model, required)


def _agree(entries: Any, ports: Sequence[Port], batched: bool, what: str, reshapes: dict[str, Reshape]) -> list[Port]:
    names = {port.name for port in ports}
    for entry in entries:
        if entry.name not in names:
            raise ModelError(
                f"config.pbtxt names the {what} '{entry.name}'; the model has {', '.join(sorted(names)) or 'none'}"
            )
    listed = {entry.name: entry for entry in entries}
    return [
        _agree_one(listed.get(port.name) or entries.add(name=port.name), port, batched, what, reshapes)
        for port in ports
    ]


def _agree_one(entry: Any, port: Port, batched: bool, what: str, reshapes: dict[str, Reshape]) -> Port:
    _agree_type(entry, port, what)
    dims = _own_dims(port, batched, what)
    declared = tuple(entry.dims)
    if entry.HasField("reshape"):
        inner = tuple(entry.reshape.shape)
        if not reshape.possible(declared, inner):
            raise ModelError(
                f"config.pbtxt gives {what} '{port.name}' dims {list(declared)} and reshape {list(inner)}, "
                "which do not hold the same elements"
            )
        _agree_dims(inner, dims, port, batched, what)
        reshapes[port.name] = Reshape(declared, inner, batched)
        return replace(port, shape=_whole(declared, batched), ranked=True)
    if not declared:
        entry.dims.extend(dims)
        return port
    _agree_dims(declared, dims, port, batched, what)
    narrowed = (
        declared
        if not port.ranked
        else tuple(own if dim == -1 else dim for dim, own in zip(declared, dims, strict=True))
    )
    return replace(port, shape=_whole(narrowed, batched), ranked=True)


def _agree_type(entry: Any, port: Port, what: str) -> None:
    own = pb.DataType.Value(port.datatype.config)
    if entry.data_type not in {pb.DataType.Value("TYPE_INVALID"), own}:
        declared = pb.DataType.Name(entry.data_type)
        raise ModelError(f"config.pbtxt gives {what} '{port.name}' {declared}; the model has {port.datatype.config}")
    entry.data_type = own


def _agree_dims(declared: Shape, own: Shape, port: Port, batched: bool, what: str) -> None:
    if not port.ranked:
        return
    if len(declared) == len(own) and all(-1 in (a, b) or a == b for a, b in zip(declared, own, strict=True)):
        return
    raise ModelError(
        f"config.pbtxt gives {what} '{port.name}' dims {list(declared)}; the model has {list(own)}"
        + (" beside the batch dimension" if batched else "")
    )


def _own_dims(port: Port, batched: bool, what: str) -> Shape:
    """The graph's dimensions without the batch."""
    if not batched or not port.ranked:
        return port.shape
    if not port.shape:
        raise ModelError(f"max_batch_size is set, but the {what} '{port.name}' is a scalar and has no batch dimension")
    if _fixed(port):
        raise ModelError(
            f"max_batch_size is set, but the first dimension of the {what} '{port.name}' is fixed at {port.shape[0]}"
        )
    return port.shape[1:]


def _fixed(port: Port) -> bool:
    return port.ranked and port.shape[:1] != (-1,)


def _whole(dims: Shape, batched: bool) -> Shape:
    return (-1, *dims) if batched else dims
