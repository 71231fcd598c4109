"""Tensors as query parameters: `?x=0,0,5,13` gives the input `x` its elements, flat. Nothing here does I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from crossover.protocol.codecs.json import values as json_values
from crossover.protocol.datatypes import Datatype, datatype
from crossover.protocol.errors import invalid
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.protocol.codecs.binary.codec import Described

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def tensors_in_url(
    described: Sequence[Described], items: Sequence[tuple[str, str]], others: Sequence[str]
) -> list[Tensor]:
    """The inputs that the query parameters `items` give, apart from `others`; else INVALID_ARGUMENT."""
    inputs = {tensor.name: tensor for tensor in described}
    texts: dict[str, str] = {}
    for name, text in items:
        if name in inputs and name in texts:
            raise invalid(f"query parameter '{name}' is there twice; put all elements into one, with commas")
        if name not in inputs and name not in others:
            raise invalid(f"query parameter '{name[:40]}' is no input of the model; it has {', '.join(inputs)}")
        texts[name] = text
    missing = [name for name in inputs if name not in texts]
    if missing:
        raise invalid(f"query parameter '{missing[0]}' is missing; it takes the input's elements with commas between")
    return [_tensor(tensor, texts[name]) for name, tensor in inputs.items()]


def _tensor(described: Described, text: str) -> Tensor:
    row = datatype(described.datatype)
    if not row.json:
        raise invalid(f"input '{described.name}' is {row.name}, which no URL carries; POST it to /v2 as binary data")
    words = text.split(",")
    data = [_element(described.name, row, word.strip()) for word in words]
    shape = _shape(described, len(data))
    return Tensor(described.name, row, shape, array=json_values.to_array(described.name, row, shape, data))


def _shape(described: Described, count: int) -> tuple[int, ...]:
    """The declared shape with the last variable dimension filled by the count and other variable ones as 1."""
    shape = list(described.shape)
    variable = [index for index, dim in enumerate(shape) if dim < 0]
    for index in variable[:-1]:
        shape[index] = 1
    if variable:
        rest = math.prod(dim for dim in shape if dim >= 0)
        if not rest or count % rest:
            expected = f"shape {list(described.shape)} takes a multiple of {rest}"
            raise invalid(f"input '{described.name}' has {count} elements; {expected}")
        shape[variable[-1]] = count // rest
    elif math.prod(shape) != count:
        raise invalid(f"input '{described.name}' has {count} elements; shape {shape} takes {math.prod(shape)}")
    return tuple(shape)


def _element(name: str, row: Datatype, word: str) -> Any:
    try:
        return _READERS[row.kind](word)
    except (ValueError, KeyError):
        raise invalid(f"input '{name}' holds '{word[:40]}', which is no {row.name}") from None


_READERS: dict[str, Callable[[str], Any]] = {
    "bool": lambda word: _BOOLEANS[word.lower()],
    "int": int,
    "float": float,
    "bytes": str,
}
