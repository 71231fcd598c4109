"""What is sent: requests of a given size for a model, seeded, in a few variants, so that no stale answer can pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.design.outcomes import Output
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json.text import loads_object
from crossover.protocol.datatypes import datatype
from crossover.protocol.errors import InferenceError
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crossover.protos import inference as pb

VARIANTS = 4
BUSY = "lab_busy_us"
"""Request parameter that our lab's model server honours: busy waiting before the engine, in µs. On every request."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the lab's own models are asked for beside a request of some size."""

    reply_bytes: int | None = None
    """Bytes of the reply of `sized`; None: as many as its request brings."""
    work: int = 10
    """Turns of the loop of `work`, which is the model's own compute time."""


class PayloadError(ValueError):
    """No request of that size can be made for the model, in one sentence."""


def requests(metadata: pb.ModelMetadataResponse, size: int, seed: int, wish: Wish | None = None) -> list[InferRequest]:
    """A few requests whose tensors hold about `size` bytes in all; PayloadError when the model has no room for it."""
    random = np.random.default_rng([seed, size])
    make = _LAB_MODELS.get(metadata.name)
    if make is None:
        return [InferRequest(metadata.name, _generic(metadata, size, random)) for _ in range(VARIANTS)]
    return [InferRequest(metadata.name, make(size, random, wish or Wish())) for _ in range(VARIANTS)]


def from_file(path: Path, model: str) -> list[InferRequest]:
    """The one request in an OIP JSON file; PayloadError says what is wrong with it."""
    try:
        loads_object(path.read_bytes())
        return [json_codec.decode_request(path.read_bytes(), model)[0]]
    except OSError as error:
        raise PayloadError(f"--request {path} cannot be read: {error.strerror}") from None
    except InferenceError as error:
        raise PayloadError(f"--request {path} is not an OIP request: {error.message}") from None


def size_of(request: InferRequest) -> int:
    """Bytes of all its tensors in raw form."""
    return sum(tensor.nbytes for tensor in request.inputs)


def known_answer(request: InferRequest) -> tuple[Output, ...] | None:
    """The answer where it is known without asking: identity gives back its input."""
    if request.model_name != "identity":
        return None
    x = request.inputs[0]
    return (Output("y", x.datatype.name, x.shape, bytes(x.raw)),)


def _identity(size: int, random: np.random.Generator, wish: Wish) -> list[Tensor]:  # noqa: ARG001
    return [Tensor.from_array("x", random.standard_normal((1, max(1, size // 4)), np.float32))]


def _sized(size: int, random: np.random.Generator, wish: Wish) -> list[Tensor]:
    count = max(1, size - 8)
    return [
        Tensor.from_array("x", random.integers(0, 256, count, np.uint8)),
        Tensor.from_array("size", np.array([wish.reply_bytes or count], np.int64)),
    ]


def _work(size: int, random: np.random.Generator, wish: Wish) -> list[Tensor]:
    rows = max(1, (size - 8) // 64)
    return [
        Tensor.from_array("x", random.standard_normal((rows, 16), np.float32)),
        Tensor.from_array("turns", np.array([wish.work], np.int64)),
    ]


_LAB_MODELS: dict[str, Callable[[int, np.random.Generator, Wish], list[Tensor]]] = {
    "identity": _identity,
    "sized": _sized,
    "work": _work,
}


def _generic(metadata: pb.ModelMetadataResponse, size: int, random: np.random.Generator) -> list[Tensor]:
    """Small random values; the dynamic dimension of the largest input grows until the size is reached."""
    shapes = {item.name: [dim if dim >= 0 else 1 for dim in item.shape] for item in metadata.inputs}
    growing = _growing(metadata, shapes)
    if growing is not None:
        name, axis, unit = growing
        shapes[name][axis] = max(1, round(size / unit))
    made = [_tensor(item.name, item.datatype, shapes[item.name], random) for item in metadata.inputs]
    have = sum(tensor.nbytes for tensor in made)
    if not 0.5 * size <= have <= 2 * size:
        raise PayloadError(
            f"model '{metadata.name}' takes {have} bytes, not {size}; leave out --payload or give --request FILE"
        )
    return made


def natural_size(metadata: pb.ModelMetadataResponse) -> int:
    """Bytes of a request whose dynamic dimensions are all 1."""
    return sum(_bytes(item.datatype, [dim if dim >= 0 else 1 for dim in item.shape]) for item in metadata.inputs)


def _growing(metadata: pb.ModelMetadataResponse, shapes: dict[str, list[int]]) -> tuple[str, int, int] | None:
    best: tuple[str, int, int] | None = None
    for item in metadata.inputs:
        axes = [axis for axis, dim in enumerate(item.shape) if dim < 0]
        unit = _bytes(item.datatype, shapes[item.name])
        if axes and (best is None or unit > best[2]):
            best = item.name, axes[0], unit
    return best


def _bytes(kind: str, shape: list[int]) -> int:
    return (datatype(kind).itemsize or 12) * math.prod(shape)


def _tensor(name: str, kind: str, shape: list[int], random: np.random.Generator) -> Tensor:
    row = datatype(kind)
    if row.kind == "bytes":
        array = np.array([f"text {n:03}" for n in random.integers(0, 1000, math.prod(shape))], object).reshape(shape)
        return Tensor.from_array(name, array, row)
    if np.issubdtype(row.dtype, np.integer):
        return Tensor.from_array(name, random.integers(0, 10, shape).astype(row.dtype), row)
    if row.dtype == np.bool_:
        return Tensor.from_array(name, random.integers(0, 2, shape).astype(np.bool_), row)
    return Tensor.from_array(name, random.random(shape, np.float32).astype(row.dtype), row)
