"""One version of an ensemble that serves: its graph, with the loaded models that its steps run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from crossover.model_server.binding import Signature
from crossover.model_server.classification import Labels
from crossover.model_server.ensemble.graph import PLATFORM, Graph, Step, graph_of
from crossover.model_server.model_error import ModelError
from crossover.model_server.onnx_session import Port
from crossover.model_server.ports import Agreed
from crossover.model_server.served import ServedVersion
from crossover.protos import inference as pb

Find = Callable[[str, str], ServedVersion]
"""What serves under a model's name and version; ModelError when nothing does."""


@dataclass(slots=True, eq=False)
class LoadedEnsemble(ServedVersion):
    """Holds its parts, so that a request runs on those with which it began, whatever is loaded meanwhile."""

    graph: Graph
    parts: dict[Step, ServedVersion]

    def is_like(self, other: LoadedEnsemble) -> bool:
        """Whether the other one would answer the same: the configuration and every part are the very same."""
        return self.config == other.config and self.labels == other.labels and self.parts == other.parts

    def needed(self, outputs: Iterable[str]) -> list[Step]:
        """The steps that these outputs take, in order."""
        steps = {self.graph.makers[name] for name in outputs}
        for step in reversed(self.graph.steps):
            if step in steps:
                steps.update(self.graph.before(step))
        return [step for step in self.graph.steps if step in steps]


def link(config: pb.ModelConfig, number: int, labels: Labels, find: Find) -> LoadedEnsemble:
    """The ensemble over the models that serve now; ModelError names the step that does not fit, and why."""
    graph = graph_of(config)
    parts: dict[Step, ServedVersion] = {}
    for step in graph.steps:
        parts[step] = part = _part(step, find)
        _check_ports(step, part)
        if 0 < part.signature.max_batch_size < config.max_batch_size:
            raise ModelError(
                f"max_batch_size is {config.max_batch_size}, but {step} takes {part.signature.max_batch_size} at most"
            )
    _check_tensors(graph, parts)
    full = pb.ModelConfig()
    full.CopyFrom(config)
    full.platform = PLATFORM
    if not full.HasField("version_policy"):
        full.version_policy.latest.num_versions = 1
    signature = Signature.of(config.name, graph.inputs, graph.outputs, config.max_batch_size)
    agreed = Agreed(graph.inputs, graph.outputs, {}, {})
    return LoadedEnsemble(
        config.name, number, signature, full, agreed, graph, parts, labels={**_labels(graph, parts), **labels}
    )


def _part(step: Step, find: Find) -> ServedVersion:
    try:
        return find(step.model, step.version)
    except ModelError as error:
        raise ModelError(f"{step}: {error}") from error


def _check_ports(step: Step, part: ServedVersion) -> None:
    """Every port that the step maps is one of the model's, and every input that the model needs is mapped."""
    for what, entries, names in (
        ("input", step.inputs, list(part.signature.inputs)), ("output", step.outputs, part.signature.outputs),
    ):  # fmt: skip
        for port, _ in entries:
            if port not in names:
                raise ModelError(f"{step} maps the {what} '{port}'; the model's are {', '.join(names)}")
    if missing := sorted(part.signature.required - {port for port, _ in step.inputs}):
        raise ModelError(f"{step} does not map the input '{missing[0]}', which the model needs")


def _check_tensors(graph: Graph, parts: Mapping[Step, ServedVersion]) -> None:
    """Whoever takes a tensor takes the datatype and shape that it is made with."""
    sources: dict[str, tuple[str, Port]] = {port.name: ("the ensemble's input", port) for port in graph.inputs}
    for step in graph.steps:
        outputs = {port.name: port for port in parts[step].agreed.outputs}
        sources |= {tensor: (str(step), outputs[name]) for name, tensor in step.outputs}
    for step in graph.steps:
        for name, tensor in step.inputs:
            _check_tensor(tensor, *sources[tensor], str(step), parts[step].signature.inputs[name])
    for port in graph.outputs:
        _check_tensor(port.name, *sources[port.name], "the ensemble's output", port)


def _check_tensor(tensor: str, maker: str, port: Port, taker: str, destination: Port) -> None:
    if port.datatype is not destination.datatype:
        raise ModelError(
            f"'{tensor}' is {port.datatype.name} where {maker} makes it and {destination.datatype.name} where {taker} takes it"
        )
    if port.ranked and destination.ranked and not _alike(port.shape, destination.shape):
        raise ModelError(
            f"'{tensor}' has shape {list(port.shape)} where {maker} makes it and {list(destination.shape)} where {taker} takes it"
        )
    if port.optional and not destination.optional:
        raise ModelError(f"the ensemble's input '{tensor}' is optional, but {taker} needs it")


def _alike(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return len(shape) == len(other) and all(-1 in (a, b) or a == b for a, b in zip(shape, other, strict=True))


def _labels(graph: Graph, parts: Mapping[Step, ServedVersion]) -> Labels:
    """An output has the labels of the model that makes it where the ensemble gives none."""
    labels: dict[str, list[str]] = {}
    for step in graph.steps:
        for name, tensor in step.outputs:
            if name in parts[step].labels:
                labels[tensor] = parts[step].labels[name]
    return labels
