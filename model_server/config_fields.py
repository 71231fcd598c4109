"""What this server does with each field of Triton's ModelConfig: honoured, named in the log, or refused.

One table by path; the longest path that a field's own begins with decides. docs/protocol.md shows it for every field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crossover.protos import inference as pb

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

Treatment = Literal["honoured", "named", "refused"]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table."""

    treatment: Treatment
    meaning: str
    """What it does here; what it would do elsewhere; or why it cannot be served."""


def _honoured(meaning: str) -> Row:
    return Row("honoured", meaning)


def _named(meaning: str) -> Row:
    return Row("named", meaning)


def _refused(meaning: str) -> Row:
    return Row("refused", meaning)


FIELDS: dict[str, Row] = {
    "name": _honoured("must be the folder's name, or empty"),
    "platform": _honoured("onnxruntime_onnx, or ensemble; another one is refused"),
    "backend": _honoured("onnxruntime; another one is refused"),
    "runtime": _named("would load another library of the backend"),
    "version_policy": _honoured("which versions are served"),
    "version_policy.specific.versions": _honoured("these versions; one that is absent is listed as UNAVAILABLE"),
    "max_batch_size": _honoured("rows of a request, and of requests that run together; 0: no batch dimension"),
    "input": _honoured("agrees with the graph, or narrows it"),
    "input.optional": _honoured("what the graph says counts; an input that it needs is named in the log"),
    "input.format": _honoured("shown in the configuration; the model's own layout counts"),
    "input.is_shape_tensor": _named("would mark an input of TensorRT's as a shape"),
    "input.allow_ragged_batch": _named("would let requests of different shapes run together"),
    "input.is_non_linear_format_io": _named("would use TensorRT's own memory layout"),
    "output": _honoured("agrees with the graph, or narrows it"),
    "output.label_filename": _honoured("labels of the classification extension"),
    "output.is_shape_tensor": _named("would mark an output of TensorRT's as a shape"),
    "output.is_non_linear_format_io": _named("would use TensorRT's own memory layout"),
    "batch_input": _named("would make an input from the batch itself"),
    "batch_output": _named("would divide an output by the shapes of the requests"),
    "optimization.graph.level": _honoured("ONNX Runtime's: -1 basic, 0 all, 1 extended, 2 none"),
    "optimization.priority": _named("would give the model's GPU work another priority"),
    "optimization.cuda": _named("would use CUDA graphs"),
    "optimization.execution_accelerators": _named("would use another execution provider; ORT_PROVIDERS does for all models"),
    "optimization.input_pinned_memory": _named("would copy inputs to a GPU through pinned memory"),
    "optimization.output_pinned_memory": _named("would copy outputs from a GPU through pinned memory"),
    "optimization.gather_kernel_buffer_threshold": _named("would gather inputs by a GPU kernel"),
    "optimization.eager_batching": _named("would gather the next batch's inputs early"),
    "dynamic_batching": _honoured("requests run together"),
    "dynamic_batching.preferred_batch_size": _honoured("the smallest is a batch that does not wait for more, the largest the most"),
    "dynamic_batching.max_queue_delay_microseconds": _honoured("how long a request waits for others"),
    "dynamic_batching.preserve_ordering": _honoured("answers on one stream come in the order of requests in any case"),
    "dynamic_batching.priority_levels": _honoured("levels of the request parameter `priority`"),
    "dynamic_batching.default_priority_level": _honoured("the level of requests that name none"),
    "dynamic_batching.default_queue_policy": _honoured("how many requests may wait, and for how long"),
    "dynamic_batching.priority_queue_policy": _honoured("the same for one level"),
    "sequence_batching": _refused("needs state that is kept between the requests of a sequence; this server keeps none"),
    "ensemble_scheduling": _honoured("models that run as a graph over named tensors, in one request"),
    "ensemble_scheduling.step.model_version": _honoured("that version; -1 or 0: the highest that is ready"),
    "ensemble_scheduling.step.model_namespace": _named("would find the model by its repository's namespace"),
    "ensemble_scheduling.max_inflight_requests": _named("would bound the answers of decoupled models between two steps"),
    "instance_group": _honoured("instances on the CPU"),
    "instance_group.name": _honoured("a label"),
    "instance_group.kind": _honoured("KIND_CPU and KIND_AUTO; other kinds are named and run on the CPU"),
    "instance_group.count": _honoured("runs of the model at the same time, all groups together"),
    "instance_group.rate_limiter": _named("would hold runs back until resources are free"),
    "instance_group.gpus": _named("would place instances on these GPUs"),
    "instance_group.secondary_devices": _named("would use a second device"),
    "instance_group.profile": _named("would choose a TensorRT profile"),
    "instance_group.passive": _named("would keep an instance that gets no requests"),
    "instance_group.host_policy": _named("would bind an instance to a NUMA node"),
    "default_model_filename": _honoured("the model file of every version"),
    "cc_model_filenames": _named("would choose the file by a GPU's compute capability"),
    "metric_tags": _named("would add labels to the model's metrics"),
    "parameters": _honoured("those of the table below; others are named"),
    "model_warmup": _honoured("requests that run before the model is READY"),
    "model_operations.op_library_filename": _refused("would run a native library from the repository in this server"),
    "model_transaction_policy.decoupled": _refused("means any number of answers to a request; ONNX models give one"),
    "model_repository_agents": _named("would let a library change the model's files while it is loaded"),
    "response_cache": _honoured("answers are kept for equal requests, within RESPONSE_CACHE_BYTES"),
    "model_metrics": _named("would configure the buckets of the model's histograms"),
}  # fmt: skip

PARAMETERS: dict[str, str] = {
    "intra_op_thread_count": "threads inside one operator; 0: ONNX Runtime's choice",
    "inter_op_thread_count": "threads across operators; 0: ONNX Runtime's choice",
    "execution_mode": "0: operators one after the other, 1: in parallel",
    "enable_mem_arena": "1 or 0: keep freed memory for later runs",
    "enable_mem_pattern": "1 or 0: plan a run's memory from the run before",
    "memory.enable_memory_arena_shrinkage": "cpu:0: give the arena's memory back after each run",
    "session.use_device_allocator_for_initializers": "1 or 0: weights outside the arena",
    "session.disable_prepacking": "1 or 0: weights of external files stay mapped, so that processes share them; runs may take longer",
    "MODEL_ISOLATION": "process: runs in worker processes; none: in the server",
    "MODEL_MEMORY_BYTES": "memory that an isolated worker may take beyond its idle size",
}
"""Entries of `parameters` that are honoured, and what they do."""


_OF_MODELS = ("instance_group", "optimization", "model_warmup", "parameters", "default_model_filename")
_NOT_OF_ENSEMBLES = "an ensemble has none; the models of its steps have their own"


def treatment(path: str) -> Row:
    """The row for a field's path: its own, or that of the nearest message around it; KeyError for no field of ours."""
    return FIELDS[_row_path(path)]


def paths(descriptor: Any = pb.ModelConfig.DESCRIPTOR, before: str = "") -> Iterator[str]:
    """The path of every field that holds a value, in the order of declaration."""
    for field in descriptor.fields:
        path = before + field.name
        message = field.message_type
        if message is None or message.GetOptions().map_entry or not message.fields:
            yield path
        else:
            yield from paths(message, f"{path}.")


def set_paths(message: Any, before: str = "") -> Iterator[str]:
    """The paths of the fields that a configuration sets; a repeated one as often as it occurs.

    An empty message counts where the table has a row for it (`sequence_batching { }`), and else asks for nothing
    (`optimization { }`).
    """
    for field, value in message.ListFields():
        path = before + field.name
        inner = [
            inner_path for submessage in _messages(field, value) for inner_path in set_paths(submessage, f"{path}.")
        ]
        yield from inner or ([path] if _row_path(path) in FIELDS else [])


def _messages(field: FieldDescriptor, value: Any) -> list[Any]:
    if field.message_type is None or field.message_type.GetOptions().map_entry:
        return []
    values = list(value) if field.is_repeated else [value]
    return [item for item in values if item.DESCRIPTOR.fields]


def refused(config: pb.ModelConfig) -> str | None:
    """Why the configuration cannot be served: the first field that is refused; None when there is none."""
    for path in set_paths(config):
        row = treatment(path)
        if row.treatment == "refused":
            return f"config.pbtxt sets {_row_path(path)}, which {row.meaning}"
    return None


def named(config: pb.ModelConfig) -> list[str]:
    """What the configuration asks for and does not get, each once with what it would do."""
    meanings: dict[str, str] = {}
    for path in set_paths(config):
        row = treatment(path)
        if row.treatment == "named":
            meanings[_row_path(path)] = row.meaning
    if config.HasField("ensemble_scheduling"):
        meanings |= {field.name: _NOT_OF_ENSEMBLES for field, _ in config.ListFields() if field.name in _OF_MODELS}
    for group in config.instance_group:
        if group.kind not in (pb.ModelInstanceGroup.KIND_AUTO, pb.ModelInstanceGroup.KIND_CPU):
            meanings["instance_group.kind"] = f"{pb.ModelInstanceGroup.Kind.Name(group.kind)} runs on the CPU"
    if config.max_batch_size > 0:
        for warmup in config.model_warmup:
            if warmup.batch_size == 0:
                meanings[f"model_warmup '{warmup.name[:60]}'"] = "batch_size is 0, so it does not run"
    for key in sorted(config.parameters):
        if key not in PARAMETERS:
            meanings[f"parameters '{key[:60]}'"] = "no such setting here"
    return [f"{path} ({meaning})" for path, meaning in meanings.items()]


def _row_path(path: str) -> str:
    """The longest path of the table that this one begins with; the path itself where there is none."""
    parts = path.split(".")
    return next((prefix for count in range(len(parts), 0, -1) if (prefix := ".".join(parts[:count])) in FIELDS), path)


def markdown() -> str:
    """The tables for docs/protocol.md: a row for each field, then for each parameter."""
    lines = ["| field of ModelConfig | here | what |", "| --- | --- | --- |"]
    lines += [f"| `{path}` | {treatment(path).treatment} | {treatment(path).meaning} |" for path in paths()]
    lines += ["", "| `parameters` | what |", "| --- | --- |"]
    lines += [f"| `{key}` | {meaning} |" for key, meaning in PARAMETERS.items()]
    return "\n".join(lines) + "\n"
