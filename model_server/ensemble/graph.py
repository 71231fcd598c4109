"""What config.pbtxt says of an ensemble, held against itself: is every tensor made once, before it is used?

The rules are Triton's (ensemble_utils.cc, ValidateEnsembleSchedulingConfig). Whether the models fit is `version.link`'s.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from crossover.model_server.model_error import ModelError
from crossover.model_server.onnx_session import Port
from crossover.protocol.datatypes import BY_CONFIG
from crossover.protos import inference as pb

PLATFORM = "ensemble"
MOST_STEPS = 256


@dataclass(frozen=True, slots=True)
class Step:
    """One model of the graph. The names of its ports, and beside each the ensemble's name of the tensor."""

    number: int
    """From 1, as config.pbtxt lists it."""
    model: str
    version: str
    """Empty: the highest that is ready."""
    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return f"step {self.number} (model '{self.model}')"


@dataclass(frozen=True, slots=True)
class Graph:
    """An ensemble's steps in an order in which each one's inputs are there, and its ports, batch dimension included."""

    steps: tuple[Step, ...]
    inputs: list[Port]
    outputs: list[Port]
    makers: dict[str, Step]
    """The step that makes each tensor; inputs of the ensemble have none."""

    def before(self, step: Step) -> list[Step]:
        """The steps whose outputs it takes."""
        return [self.makers[tensor] for _, tensor in step.inputs if tensor in self.makers]


def is_ensemble(config: pb.ModelConfig) -> bool:
    return config.platform == PLATFORM or config.HasField("ensemble_scheduling")


def graph_of(config: pb.ModelConfig) -> Graph:
    """The ensemble's graph; ModelError that names the step, or the tensor, where it is not one."""
    if config.platform not in ("", PLATFORM) or config.backend:
        declared = f"platform '{config.platform}'" if config.platform != PLATFORM else f"backend '{config.backend}'"
        raise ModelError(
            f"config.pbtxt has ensemble_scheduling and {declared[:80]}; an ensemble's platform is '{PLATFORM}'"
        )
    if not config.ensemble_scheduling.step:
        raise ModelError("config.pbtxt sets the platform 'ensemble', which needs steps in ensemble_scheduling")
    if len(config.ensemble_scheduling.step) > MOST_STEPS:
        raise ModelError(f"ensemble_scheduling has more than {MOST_STEPS} steps")
    steps = [_step(number, entry, config.name) for number, entry in enumerate(config.ensemble_scheduling.step, 1)]
    inputs, outputs = _ports(config.input, config, "input"), _ports(config.output, config, "output")
    makers = _makers(steps, inputs)
    _check_connected(steps, inputs, outputs, makers)
    return Graph(tuple(_in_order(steps, makers)), inputs, outputs, makers)


def _step(number: int, entry: Any, ensemble: str) -> Step:
    if not entry.model_name:
        raise ModelError(f"step {number} of ensemble_scheduling names no model")
    version = str(entry.model_version) if entry.model_version > 0 else ""
    step = Step(
        number,
        entry.model_name,
        version,
        tuple(sorted(entry.input_map.items())),
        tuple(sorted(entry.output_map.items())),
    )
    if entry.model_name == ensemble:
        raise ModelError(f"{step} is the ensemble itself, which would never end")
    for what, entries in (("input_map", step.inputs), ("output_map", step.outputs)):
        if not entries:
            raise ModelError(f"{step} has no {what}; it takes an entry for each {what.removesuffix('_map')}")
        if empty := [key for key, tensor in entries if not tensor]:
            raise ModelError(f"{step} gives '{empty[0]}' no tensor in its {what}")
    return step


def _ports(entries: Any, config: pb.ModelConfig, what: str) -> list[Port]:
    if not entries:
        raise ModelError(f"an ensemble names its {what}s in config.pbtxt, with data_type and dims; there is none")
    rows = (-1,) if config.max_batch_size > 0 else ()
    ports = [_port(entry, rows, what) for entry in entries]
    names = [port.name for port in ports]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ModelError(f"config.pbtxt names the {what} '{twice[0]}' twice")
    return ports


def _port(entry: Any, rows: tuple[int, ...], what: str) -> Port:
    where = f"config.pbtxt gives the ensemble's {what} '{entry.name}'"
    row = BY_CONFIG.get(pb.DataType.Name(entry.data_type))
    if row is None:
        raise ModelError(f"{where} no data_type")
    if not entry.dims and not rows:
        raise ModelError(f"{where} no dims")
    if any(dim < -1 for dim in entry.dims):
        raise ModelError(f"{where} dims {list(entry.dims)}; a dimension is -1, 0 or more")
    if entry.HasField("reshape"):
        raise ModelError(f"{where} a reshape; that of the model in the step does it")
    return Port(entry.name, row, (*rows, *entry.dims), optional=what == "input" and entry.optional)


def _makers(steps: Iterable[Step], inputs: Iterable[Port]) -> dict[str, Step]:
    input_names = {port.name for port in inputs}
    makers: dict[str, Step] = {}
    for step in steps:
        for _, tensor in step.outputs:
            if tensor in input_names:
                raise ModelError(f"{step} makes '{tensor}', which is an input of the ensemble")
            if tensor in makers:
                raise ModelError(f"{step} makes '{tensor}', which {makers[tensor]} makes already")
            makers[tensor] = step
    return makers


def _check_connected(
    steps: Iterable[Step], inputs: Iterable[Port], outputs: Iterable[Port], makers: dict[str, Step]
) -> None:
    input_names = {port.name for port in inputs}
    for step in steps:
        for port, tensor in step.inputs:
            if tensor not in input_names and tensor not in makers:
                raise ModelError(f"{step} takes '{tensor}' as '{port}', which no step makes and which is no input")
    used = {tensor for step in steps for _, tensor in step.inputs}
    if unused := sorted(input_names - used):
        raise ModelError(f"the ensemble's input '{unused[0]}' is used by no step")
    if unmade := [port.name for port in outputs if port.name not in makers]:
        raise ModelError(f"the ensemble's output '{unmade[0]}' is made by no step")


def _in_order(steps: Iterable[Step], makers: dict[str, Step]) -> list[Step]:
    """Kahn's order; ModelError for a cycle."""
    remaining = list(steps)
    done: set[Step] = set()
    ordered: list[Step] = []
    while remaining:
        ready = [
            step for step in remaining if all(makers[tensor] in done for _, tensor in step.inputs if tensor in makers)
        ]
        if not ready:
            names = ", ".join(str(step) for step in remaining[:8])
            raise ModelError(f"{names}: each waits for what another of them makes, a cycle")
        ordered += ready
        done.update(ready)
        remaining = [step for step in remaining if step not in done]
    return ordered
