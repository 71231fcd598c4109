"""One meaning over every wire of the registry: one answer, or one error.

A seeded generator makes requests, good and bad ones, as messages and not as bytes; each goes over every wire, in front of
both gRPC servers, to the same model server. What comes back is compared: outputs bit for bit, errors by their code (and so
by their status on either protocol) and by their sentence where all wires have what it speaks of.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np

from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import WIRES, connect
from tests.contract.conftest import TWICE, WAYS, serving
from tests.fuzz.codec_targets import elements
from tests.graphs import adding_graph, echo_graph, save

OTHER_MODELS = ["nobody", "", "a/b", "x\ny", "echo-FP32/versions/1", "ü", "x" * 1100]
VERSIONS = ["0", "01", "-1", "x", "99999999999999999999", "1 ", "1/2", "2"]
PARAMETERS: list[tuple[str, Any]] = [
    ("timeout", 60_000_000), ("timeout", -1), ("timeout", "soon"), ("timeout", True), ("timeout", 2**64), ("timeout", 1.5),
    ("priority", 1), ("priority", -5), ("priority", "high"), ("sequence_id", 7), ("sequence_id", "seven"), ("p", 2**63), ("p", 2**64 - 1),
    ("p", -(2**63)), ("p", 1.5), ("p", ""), ("p", "ü한"), ("ü", False), ("", 1), ("p", "\0"), ("p", 2**70), ("p", -(2**63) - 1),
]  # fmt: skip
OUTPUTS: list[tuple[str, dict[str, Any]]] = [
    ("nothing", {}), ("", {}), ("y", {"classification": 2}), ("y", {"classification": 0}), ("y", {"classification": "a"}),
    ("y", {"classification": -1}), ("y", {"unknown": 1}), ("y\0", {}),
]  # fmt: skip
NAMES = ["z", "", "ü", "X", "x" * 300]
SHAPES: list[tuple[int, ...]] = [(1, 4), (2, 3), (1, 0), (0, 4), (3, 1)]
OTHER_SHAPES: list[tuple[int, ...]] = [(), (4,), (1, 1, 4), (0,), (1,) * 40]


def requests(seed: int) -> Iterator[InferRequest]:
    """Requests without end, the same for the same seed: good ones, and ones with one fault, as two may be told in any order."""
    rng = random.Random(f"wires {seed}")
    while True:
        request = _good(rng)
        if rng.random() < 0.75:
            rng.choice(_FAULTS)(rng, request)
        yield request


def _good(rng: random.Random) -> InferRequest:
    if rng.random() < 0.25:
        names = rng.choice((("a", "b"), ("a",), ("in",), ("x",)))
        model, shape = ("scalar", ()) if names == ("x",) else ("twice" if names == ("in",) else "adding", (3,))
        tensors = [Tensor.from_array(name, np.full((1,) if name == "b" else shape, 1.5, "f4")) for name in names]
        asked = "out" if model == "twice" else "y" if model == "scalar" else "sum"
    else:
        kind = rng.choice(list(DATATYPES))
        model, tensors, asked = f"echo-{kind}", [_tensor(rng, kind, rng.choice(SHAPES))], "y"
    outputs = [RequestedOutput(asked, {})] if rng.random() < 0.3 else []
    return InferRequest(
        model, tensors, rng.choice(("", "", "1")), rng.choice(("", "", "id", "ü", "x" * 300)), outputs, {}
    )


def _model(rng: random.Random, request: InferRequest) -> None:
    request.model_name = rng.choice(OTHER_MODELS)


def _version(rng: random.Random, request: InferRequest) -> None:
    request.model_version = rng.choice(VERSIONS)


def _parameter(rng: random.Random, request: InferRequest) -> None:
    request.parameters = dict([rng.choice(PARAMETERS)])


def _output(rng: random.Random, request: InferRequest) -> None:
    name, parameters = rng.choice(OUTPUTS)
    request.outputs.append(RequestedOutput(name, dict(parameters)))


def _same_output(_rng: random.Random, request: InferRequest) -> None:
    request.outputs = [*request.outputs, *(RequestedOutput(output.name, {}) for output in request.outputs)]


def _name(rng: random.Random, request: InferRequest) -> None:
    request.inputs[0] = request.inputs[0].renamed(rng.choice(NAMES))


def _other_shape(rng: random.Random, request: InferRequest) -> None:
    first = request.inputs[0]
    request.inputs[0] = _tensor(rng, first.datatype.name, rng.choice(OTHER_SHAPES)).renamed(first.name)


def _other_type(rng: random.Random, request: InferRequest) -> None:
    first = request.inputs[0]
    request.inputs[0] = _tensor(rng, rng.choice(list(DATATYPES)), first.shape).renamed(first.name)


def _none(_rng: random.Random, request: InferRequest) -> None:
    request.inputs = []


def _twice(_rng: random.Random, request: InferRequest) -> None:
    request.inputs = [*request.inputs, request.inputs[0]]


def _more(_rng: random.Random, request: InferRequest) -> None:
    request.inputs = [*request.inputs, request.inputs[0].renamed("more")]


def _identity(rng: random.Random, request: InferRequest) -> None:
    request.id = rng.choice(("\0", "x" * 5000, "a\nb"))


_FAULTS = [_model, _version, _parameter, _parameter, _output, _output, _same_output, _name, _other_shape, _other_type, _none, _twice,
           _more, _identity]  # fmt: skip


def _tensor(rng: random.Random, kind: str, shape: tuple[int, ...]) -> Tensor:
    row = DATATYPES[kind]
    count = int(np.prod(shape))
    values: Any
    if row.kind == "bytes":
        values = np.array([rng.choice(["", "a", "ü한", "with \0", "x" * 300]) for _ in range(count)] or [], object)
    elif row.kind == "float":
        choices = [0.0, -0.0, 1.5, np.nan, np.inf, -np.inf, 1e-45, 65504.0]
        values = np.array([rng.choice(choices) for _ in range(count)], "f8")
    elif row.kind == "bool":
        values = np.array([rng.random() < 0.5 for _ in range(count)], bool)
    else:
        values = np.array([rng.choice([0, 1, row.low, row.high]) for _ in range(count)], row.dtype)
    with np.errstate(over="ignore"):
        array = values.reshape(shape) if row.kind == "bytes" else values.astype(row.dtype).reshape(shape)
    return Tensor.from_array("x", array, row)


Outcome = tuple[str, Any]


async def outcome(client: Any, request: InferRequest) -> Outcome:
    """What a call came to."""
    try:
        response = await client.infer(request, CallContext())
    except InferenceError as error:
        return "refused", error.code
    except Exception as error:
        return "raised", repr(error)
    said = [(tensor.name, tensor.datatype.name, tensor.shape, elements(tensor)) for tensor in response.outputs]
    return "answered", (response.model_name, response.model_version, response.id, said)


def is_carried(name: str, request: InferRequest) -> bool:
    """Whether a wire has a form for all of a request."""
    line = WIRES[WAYS[name][0]]
    beyond = any(type(value) is int and not -(2**63) <= value < 2**64 for value in request.parameters.values())
    if name == "inprocess" and ("timeout" in request.parameters or beyond):
        return False  # the endpoints' matter: in one process the deadline is the caller's own, and nothing is encoded
    return all(tensor.datatype.name in line.carries for tensor in request.inputs) and not _has_no_reply_form(
        line, request
    )


def _has_no_reply_form(line: Any, request: InferRequest) -> bool:
    """An echo's reply has its request's datatype."""
    return (
        request.model_name.removeprefix("echo-") in DATATYPES
        and request.model_name.removeprefix("echo-") not in line.carries
    )


class Differing:
    """A model server of each kind, and a client for each way to it."""

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="crossover-wires-")))
        for name in DATATYPES:
            save(folder, f"echo-{name}", echo_graph(name))
        save(folder, "scalar", echo_graph("FP32", []))
        save(folder, "adding", adding_graph())
        (folder / "twice" / "1").mkdir(parents=True)
        (folder / "twice" / "config.pbtxt").write_text(TWICE)
        targets = {}
        for library in ("grpcio", "lean"):
            _, targets[library] = await self._stack.enter_async_context(serving(folder, library))
        self.clients = {}
        for name, (wire, library) in WAYS.items():
            self.clients[name] = connect(wire, targets[library])
            self._stack.push_async_callback(self.clients[name].close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def check(self, request: InferRequest) -> str | None:
        """What differs between the wires; None where nothing does."""
        names = [name for name in self.clients if is_carried(name, request)]
        found = dict(
            zip(names, await asyncio.gather(*(outcome(self.clients[name], request) for name in names)), strict=True)
        )
        kinds: dict[str, list[str]] = {}
        for name, result in found.items():
            kinds.setdefault(repr(result), []).append(name)
        broken = any(result[0] == "raised" or result[1] in (Code.INTERNAL, Code.UNKNOWN) for result in found.values())
        return _told(request, kinds) if broken or len(kinds) > 1 else None


def _told(request: InferRequest, kinds: dict[str, list[str]]) -> str:
    tensors = [(tensor.name, tensor.datatype.name, tensor.shape) for tensor in request.inputs]
    asked = [(output.name, output.parameters) for output in request.outputs]
    what = f"model {request.model_name!r} version {request.model_version!r} id {request.id[:20]!r} {tensors} {asked} {request.parameters}"
    return "\n".join([what, *(f"    {', '.join(names)}: {result[:300]}" for result, names in kinds.items())])


async def differences(seconds: float, seed: int, most: int) -> tuple[int, list[str]]:
    """Requests that were made, and what differs, at most ten of it."""
    found: list[str] = []
    count = 0
    async with Differing() as differing:
        until = time.monotonic() + seconds
        for request in islice(requests(seed), most):
            count += 1
            difference = await differing.check(request)
            if difference is not None:
                found.append(difference)
            if time.monotonic() > until or len(found) >= 25:
                break
    return count * len(WAYS), found


def main(seconds: float, seed: int) -> bool:
    """Compare the wires for a time; one line, and one for each difference."""
    count, found = asyncio.run(differences(seconds, seed, 1 << 30))
    for difference in found:
        print(f"  FINDING {difference}")
    print(f"  {'every wire':20} {count:9,} calls   {len(found) or 'no'} finding{'s' * (len(found) > 1)}")
    return not found
