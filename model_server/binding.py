"""Does this request fit this model? Pure; every refusal is INVALID_ARGUMENT and says what the model expects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeAlias

from crossover.model_server.classification import count_asked
from crossover.model_server.onnx_session import Port
from crossover.model_server.queue_policy import priority_of
from crossover.protocol.errors import InferenceError, invalid
from crossover.protocol.messages import InferRequest, ParameterValue
from crossover.protocol.tensors import Shape, Tensor

UNSUPPORTED = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")
MOST_FORMS = 256
"""Forms that one version remembers; when there are more, all are forgotten."""
Form: TypeAlias = tuple[tuple[str, str, Shape], ...]
"""Name, datatype and shape of each input."""
_form_of = attrgetter("name", "datatype.name", "shape")
ALLOWED_TRITON = "triton_enable_empty_final_response"


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's inputs and outputs, and its batch limit (0: no batch dimension)."""

    model: str
    inputs: dict[str, Port]
    outputs: list[str]
    max_batch_size: int = 0
    required: frozenset[str] = field(default=frozenset())
    fitting: set[Form] = field(default_factory=set, compare=False)
    """Forms of requests that fit, as far as they are remembered: callers repeat theirs."""

    @classmethod
    def of(cls, model: str, inputs: Sequence[Port], outputs: Sequence[Port], max_batch_size: int) -> Signature:
        return cls(
            model,
            {port.name: port for port in inputs},
            [port.name for port in outputs],
            max_batch_size,
            frozenset(port.name for port in inputs if not port.optional),
        )

    def bind(self, request: InferRequest) -> list[str]:
        """Check the request; the names of the outputs to give, in order."""
        form: Form = tuple(map(_form_of, request.inputs))
        if form not in self.fitting:
            self._check_inputs(request)
            if len(self.fitting) >= MOST_FORMS:
                self.fitting.clear()
            self.fitting.add(form)
        if request.parameters:
            refuse_parameters(request.parameters)
        return self._outputs(request) if request.outputs else self.outputs

    def _check_inputs(self, request: InferRequest) -> None:
        names: set[str] = set()
        for tensor in request.inputs:
            if tensor.name in names:
                raise invalid(f"input '{tensor.name}' already exists in request for model '{self.model}'")
            names.add(tensor.name)
            self._check_input(tensor)
        if not self.required <= names:
            raise self._missing(names)
        if self.max_batch_size:
            self._check_batch(request.inputs)

    def _missing(self, names: set[str]) -> InferenceError:
        missing = [name for name in self.inputs if name in self.required - names]
        return invalid(
            f"missing required input(s) {missing} for model '{self.model}'; the request has {sorted(names) or 'none'}"
        )

    def _check_input(self, tensor: Tensor) -> None:
        port = self.inputs.get(tensor.name)
        if port is None:
            raise invalid(
                f"unexpected inference input '{tensor.name}' for model '{self.model}'; its inputs are {list(self.inputs)}"
            )
        if tensor.datatype is not port.datatype:
            raise invalid(
                f"inference input '{tensor.name}' data-type is '{tensor.datatype.name}', but model '{self.model}' "
                f"expects '{port.datatype.name}'"
            )
        if port.ranked and not _fits(tensor.shape, port.shape):
            raise invalid(
                f"unexpected shape for input '{tensor.name}' for model '{self.model}'. "
                f"Expected {list(port.shape)}, got {list(tensor.shape)}"
            )

    def _check_batch(self, inputs: Iterable[Tensor]) -> None:
        scalars = [tensor.name for tensor in inputs if not tensor.shape]
        if scalars:
            raise invalid(f"input '{scalars[0]}' of model '{self.model}' is a scalar; it takes a batch dimension first")
        rows = {tensor.shape[0] for tensor in inputs}
        if len(rows) > 1:
            raise invalid(f"the inputs of model '{self.model}' have different batch sizes: {sorted(rows)}")
        if rows and max(rows) > self.max_batch_size:
            raise invalid(f"batch size {max(rows)} is over the {self.max_batch_size} that model '{self.model}' takes")

    def _outputs(self, request: InferRequest) -> list[str]:
        names: list[str] = []
        for output in request.outputs:
            if output.name not in self.outputs:
                raise invalid(
                    f"unexpected inference output '{output.name}' for model '{self.model}'; its outputs are {self.outputs}"
                )
            if output.name in names:
                raise invalid(f"output '{output.name}' already requested for model '{self.model}'")
            for parameter in output.parameters:
                _refuse(parameter)
            count_asked(output.parameters)
            names.append(output.name)
        return names


def _fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(shape) == len(declared) and all(want in (-1, dim) for dim, want in zip(shape, declared, strict=True))


def refuse_parameters(parameters: dict[str, ParameterValue]) -> None:
    """Parameters that promise what we do not do are refused; unknown ones are ignored (OIP)."""
    for name in parameters:
        if name.startswith("triton_") and name != ALLOWED_TRITON:
            raise invalid(f"parameter keys starting with 'triton_' are reserved; '{name}' is not supported")
        _refuse(name)
    priority_of(parameters)


def _refuse(parameter: str) -> None:
    if parameter in UNSUPPORTED:
        raise invalid(f"parameter '{parameter}' is not supported by this server")
