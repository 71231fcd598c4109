"""The client that applications use: numpy arrays in, numpy arrays out, the same over every wire.

Waiting and not waiting::

    async with connect("grpc", grpc="127.0.0.1:8001") as client:
        answer = await client.infer("digits", {"x": pixels}, timeout=1.0)      # waits for this answer
        print(answer["probabilities"].argmax())

        pending = client.submit("digits", {"x": pixels})                       # does not wait
        do_something_else()
        answer = await pending

`clients/sync.py` has the same for scripts without an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

import numpy as np

from crossover.clients import addresses
from crossover.protocol import deadline, wires
from crossover.protocol.datatypes import datatype
from crossover.protocol.errors import InferenceError, invalid
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.messages import InferRequest, InferResponse, Parameters, RequestedOutput
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self, Unpack

    from crossover.protos import inference as pb

Value: TypeAlias = Any
"""An input's value: a numpy array (its dtype decides the datatype), a `Tensor`, or numbers and text in lists (the
model's metadata decides)."""


class Where(TypedDict, total=False):
    """Fields of `protocol.wires.Target`."""

    grpc: str
    rest: str
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    max_message_bytes: int
    connections: int
    api_key: Callable[[], str] | None
    options: dict[str, str]
    balancing: wires.Balancing


class Answer(Mapping[str, np.ndarray]):
    """The outputs by name, in the order asked for, and what is known about the call."""

    def __init__(self, response: InferResponse, seconds: float, context: CallContext) -> None:
        self.model = response.model_name
        self.version = response.model_version
        self.id = response.id
        self.parameters = response.parameters
        self.tensors = response.outputs
        """The outputs with their datatypes."""
        self.seconds = seconds
        """From the call of `infer` to its answer."""
        self.bytes_sent = context.bytes_sent
        """Encoded request message, without transport headers; 0 where nothing is sent."""
        self.bytes_received = context.bytes_received

    def __getitem__(self, name: str) -> np.ndarray:
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor.array
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (tensor.name for tensor in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"Answer({self.model} {self.version}: {', '.join(map(repr, self.tensors))})"


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output as the model declares it; -1 is a dimension that varies."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a model takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A line of the repository's index; `state` is READY, UNAVAILABLE, LOADING or UNLOADING."""

    name: str
    version: str
    state: str
    reason: str


def connect(wire: str = "grpc", *, timeout: float | None = None, **where: Unpack[Where]) -> Client:
    """A client over `wire` (a name of `protocol.wires.WIRES`); it connects at its first call.

    Without `grpc` and `rest` the addresses are those that the command line takes (clients/addresses.py). `timeout` in
    seconds is for calls that give none themselves. InferenceError for a name that is no wire.
    """
    wires.wire(wire)
    given: Where = {**cast("Where", addresses.usual()), **where}
    return Client(wire, wires.Target(**given), timeout)


class Client:
    """One service over one wire. It belongs to the event loop in which it is first used; every method raises
    InferenceError.
    """

    def __init__(self, wire: str, target: wires.Target, timeout: float | None = None) -> None:
        self.wire = wire
        self.target = target
        self._timeout = timeout
        self._connected: Inference | None = None
        self._declared: dict[tuple[str, str], ModelInfo] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Value],
        *,
        version: str = "",
        outputs: Sequence[str] = (),
        parameters: Parameters | None = None,
        request_id: str = "",
        timeout: float | None = None,
    ) -> Answer:
        """Run `model` and wait for its answer.

        An empty version is the highest that is ready, no outputs means all of them, `timeout` is in seconds
        (DEADLINE_EXCEEDED). Cancelling the awaiting task cancels the call on the other side too.
        """
        context = self._context(timeout)
        began = time.perf_counter()
        request = InferRequest(
            model,
            [await self._tensor(name, value, model, version) for name, value in inputs.items()],
            version,
            request_id,
            [RequestedOutput(name) for name in outputs],
            parameters or {},
        )
        response = await self._inference.infer(request, context)
        return Answer(response, time.perf_counter() - began, context)

    def submit(self, model: str, inputs: Mapping[str, Value], **options: Any) -> asyncio.Task[Answer]:
        """Start `infer` with the same arguments and go on; await the task for its answer, cancel it to give up."""
        return asyncio.get_running_loop().create_task(self.infer(model, inputs, **options))

    async def live(self, timeout: float | None = None) -> bool:
        """Whether the service runs; False too when it cannot be reached."""
        return await self._true(self._inference.server_live(self._context(timeout)))

    async def ready(self, model: str = "", version: str = "", timeout: float | None = None) -> bool:
        """Whether the service, or one of its models, can take calls; False too when it cannot be reached."""
        context = self._context(timeout)
        if not model:
            return await self._true(self._inference.server_ready(context))
        return await self._inference.model_ready(model, version, context)

    async def models(self, *, ready: bool = False, timeout: float | None = None) -> list[ModelStatus]:
        """Every model version that the service knows, or only those that are ready."""
        index = await self._inference.repository_index(ready, self._context(timeout))
        return [ModelStatus(line.name, line.version, line.state, line.reason) for line in index.models]

    async def metadata(self, model: str, version: str = "", timeout: float | None = None) -> ModelInfo:
        """What the model takes and gives."""
        found = await self._inference.model_metadata(model, version, self._context(timeout))
        return ModelInfo(
            found.name, tuple(found.versions), found.platform, _tensors(found.inputs), _tensors(found.outputs)
        )

    async def close(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.close()

    @property
    def _inference(self) -> Inference:
        if self._connected is None:
            self._connected = wires.connect(self.wire, self.target)
        return self._connected

    def _context(self, timeout: float | None) -> CallContext:
        return CallContext(deadline.after(self._timeout if timeout is None else timeout))

    async def _true(self, call: Any) -> bool:
        try:
            return bool(await call)
        except InferenceError as error:
            if error.code.status.retryable:
                return False
            raise

    async def _tensor(self, name: str, value: Value, model: str, version: str) -> Tensor:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, np.ndarray):
            return Tensor.from_array(name, value)
        key = (model, version)
        if key not in self._declared:
            self._declared[key] = await self.metadata(model, version)
        return tensor_as_declared(self._declared[key], name, value)


def tensor_as_declared(model: ModelInfo, name: str, value: Value) -> Tensor:
    """`value` (numbers or text in lists) in the datatype that the model declares for its input `name`."""
    declared = next((tensor for tensor in model.inputs if tensor.name == name), None)
    if declared is None:
        names = ", ".join(tensor.name for tensor in model.inputs)
        raise invalid(f"model '{model.name}' has no input '{name[:100]}'; it has {names}")
    row = datatype(declared.datatype)
    try:
        array = np.asarray(value, dtype=row.dtype)
    except (ValueError, TypeError, OverflowError):
        raise invalid(f"input '{name}' takes {row.name} values in lists of equal length") from None
    return Tensor.from_array(name, array, row)


def _tensors(found: Sequence[pb.ModelMetadataResponse.TensorMetadata]) -> tuple[TensorInfo, ...]:
    return tuple(TensorInfo(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in found)
