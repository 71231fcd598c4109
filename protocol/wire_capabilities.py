"""What a wire cannot carry, by its line in the registry; the error names a wire that can."""

from __future__ import annotations

from collections.abc import Iterable

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Wire


def check_request(wire: Wire, request: InferRequest) -> None:
    """NOT_CARRIED when an input's datatype, or a BYTES value that is not text, has no form on the wire."""
    _check(wire, request.inputs, "input")


def check_response(wire: Wire, response: InferResponse) -> None:
    """The same for outputs, which may come back raw because the wire has no form for them."""
    _check(wire, response.outputs, "output")


def _check(wire: Wire, tensors: Iterable[Tensor], what: str) -> None:
    for tensor in tensors:
        if tensor.datatype.name not in wire.carries:
            raise InferenceError(
                Code.NOT_CARRIED,
                f"{what} '{tensor.name}' is {tensor.datatype.name}, which '{wire.name}' does not carry; "
                f"use '{wire.instead}'",
            )
