"""The data plane's messages, the same for every wire (OIP: ModelInferRequest, ModelInferResponse).

The control plane (metadata, configuration, statistics, repository) uses the protobuf messages of `protos` themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from crossover.protocol.tensors import Tensor

ParameterValue: TypeAlias = bool | int | float | str
Parameters: TypeAlias = dict[str, ParameterValue]


@dataclass(slots=True)
class RequestedOutput:
    """An output that the caller names; replies keep the order asked for."""

    name: str
    parameters: Parameters = field(default_factory=dict)


def copied(outputs: list[RequestedOutput]) -> list[RequestedOutput]:
    """The same, for a request of its own."""
    return [RequestedOutput(output.name, dict(output.parameters)) for output in outputs] if outputs else []


@dataclass(slots=True)
class SharedTensors:
    """Which tensors lie in shared memory, by name, with the extension's parameters (codecs/shared_memory.py)."""

    inputs: dict[str, Parameters] = field(default_factory=dict)
    outputs: dict[str, Parameters] = field(default_factory=dict)


@dataclass(slots=True)
class InferRequest:
    """One inference call. An empty version means the highest that is ready; no outputs means all of them."""

    model_name: str
    inputs: list[Tensor]
    model_version: str = ""
    id: str = ""
    outputs: list[RequestedOutput] = field(default_factory=list)
    parameters: Parameters = field(default_factory=dict)
    shared: SharedTensors | None = None
    """Set where a tensor lies in shared memory; such an input has no bytes here yet."""


@dataclass(slots=True)
class InferResponse:
    """The answer: the version that ran, the caller's id, and the outputs in the order asked for."""

    model_name: str
    model_version: str
    outputs: list[Tensor]
    id: str = ""
    parameters: Parameters = field(default_factory=dict)
    shared: dict[str, Parameters] = field(default_factory=dict)
    """Outputs that were written to shared memory, with the extension's parameters; they have no bytes here."""

    def output(self, name: str) -> Tensor:
        """The output called `name`; KeyError when there is none."""
        for tensor in self.outputs:
            if tensor.name == name:
                return tensor
        raise KeyError(name)
