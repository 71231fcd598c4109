"""The parameters of Triton's shared memory extension: how a message says that a tensor lies in a registered region."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.protocol.errors import invalid
from crossover.protocol.tensors import Tensor, declared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crossover.protocol.messages import Parameters, RequestedOutput

REGION, OFFSET, SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"
_ALL = (REGION, OFFSET, SIZE)


def take(parameters: Parameters, where: str) -> Parameters:
    """The extension's parameters, taken out of a tensor's own; INVALID_ARGUMENT for one that is not well formed."""
    extension = {key: parameters.pop(key) for key in _ALL if key in parameters}
    if type(extension.get(REGION)) is not str or not extension[REGION]:
        raise invalid(f"parameter '{REGION}' of {where} takes the name of a region")
    for key in (OFFSET, SIZE):
        if not (type(value := extension.setdefault(key, 0)) is int and 0 <= value < 1 << 63):
            raise invalid(f"parameter '{key}' of {where} takes a number of bytes, 0 or more")
    return extension


def placeholder(name: str, kind: str, dims: list[Any]) -> Tensor:
    """An input without its bytes; the service that maps the region fills them in."""
    row, shape = declared(name, kind, dims)
    return Tensor(name, row, shape, raw=b"")


def take_outputs(outputs: list[RequestedOutput]) -> dict[str, Parameters]:
    """The extension's parameters of the requested outputs, taken out of these."""
    return {
        output.name: take(output.parameters, f"output '{output.name}'")
        for output in outputs
        if output.parameters and REGION in output.parameters
    }


def reply_parameters(parameters: Mapping[str, Any], size: int) -> Parameters:
    """A reply's parameters of an output that was written: those of the request, with the bytes that it takes."""
    return {key: size if key == SIZE else parameters[key] for key in _ALL if key != OFFSET or parameters[OFFSET]}
