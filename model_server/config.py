"""A model's configuration: what `config.pbtxt` says (Triton's text format), completed from the ONNX graph.

Nothing is refused for being unknown to us; what a file asks for and we do not honour is named once in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format

from model_server.onnx_session import ModelError, Port
from protos import inference as pb

CONFIG_FILE = "config.pbtxt"
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
DEFAULT_FILE = "model.onnx"
HONOURED = frozenset(
    {"name", "platform", "backend", "version_policy", "max_batch_size", "input", "output", "default_model_filename",
     "dynamic_batching", "parameters"}
)  # fmt: skip


def read(folder: Path) -> pb.ModelConfig:
    """The folder's config.pbtxt, or an empty configuration; ModelError when it can't be read."""
    path = folder / CONFIG_FILE
    if not path.exists():
        return pb.ModelConfig(name=folder.name)
    try:
        return from_text(path.read_text("utf-8"), folder.name)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{CONFIG_FILE} can't be read: {type(error).__name__}") from error


def from_text(text: str, name: str) -> pb.ModelConfig:
    config = pb.ModelConfig()
    try:
        text_format.Parse(text, config, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ModelError(f"{CONFIG_FILE} is not a model configuration: {error}") from error
    return _named(config, name)


def from_json(text: str, name: str) -> pb.ModelConfig:
    """The configuration that a `load` call brings as JSON."""
    config = pb.ModelConfig()
    try:
        json_format.Parse(text, config, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ModelError("the configuration that came with load is not a model configuration in JSON") from error
    return _named(config, name)


def _named(config: pb.ModelConfig, name: str) -> pb.ModelConfig:
    if config.name and config.name != name:
        raise ModelError(f"{CONFIG_FILE} names the model '{config.name}', but its folder is '{name}'")
    config.name = name
    if config.HasField("ensemble_scheduling") or config.HasField("sequence_batching"):
        raise ModelError("ensembles and sequence batching are not supported")
    if config.max_batch_size < 0:
        raise ModelError(f"max_batch_size is {config.max_batch_size}; it takes 0 or more")
    return config


def unhonoured(config: pb.ModelConfig) -> list[str]:
    """Fields that the file sets and this server does not honour."""
    return sorted(field.name for field, _ in config.ListFields() if field.name not in HONOURED)


def wanted_versions(config: pb.ModelConfig, present: Sequence[int]) -> list[int]:
    """The versions to serve of those that are present, by the version policy; ascending."""
    policy = config.version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return sorted(present)
    if choice == "specific":
        return sorted(set(policy.specific.versions) & set(present))
    count = policy.latest.num_versions if choice == "latest" and policy.latest.num_versions else 1
    return sorted(present)[-count:]


def completed(config: pb.ModelConfig, inputs: Sequence[Port], outputs: Sequence[Port]) -> pb.ModelConfig:
    """The configuration with what the graph knows filled in; ModelError when the two contradict each other."""
    full = pb.ModelConfig()
    full.CopyFrom(config)
    full.platform = full.platform or PLATFORM
    full.backend = full.backend or BACKEND
    full.default_model_filename = full.default_model_filename or DEFAULT_FILE
    if not full.HasField("version_policy"):
        full.version_policy.latest.num_versions = 1
    batched = full.max_batch_size > 0
    _complete_ports(full.input, inputs, batched, "input")
    _complete_ports(full.output, outputs, batched, "output")
    for entry in full.input:
        entry.optional = entry.optional or any(port.name == entry.name and port.optional for port in inputs)
    return full


def _complete_ports(entries: Any, ports: Sequence[Port], batched: bool, what: str) -> None:
    known = {port.name: port for port in ports}
    for entry in entries:
        port = known.get(entry.name)
        if port is None:
            raise ModelError(
                f"{CONFIG_FILE} names the {what} '{entry.name}'; the model has {', '.join(known) or 'none'}"
            )
        if entry.data_type not in {pb.DataType.Value("TYPE_INVALID"), pb.DataType.Value(port.datatype.config)}:
            told = pb.DataType.Name(entry.data_type)
            raise ModelError(f"{CONFIG_FILE} gives {what} '{entry.name}' {told}; the model has {port.datatype.config}")
    listed = {entry.name: entry for entry in entries}
    for port in ports:
        entry = listed.get(port.name) or entries.add(name=port.name)
        entry.data_type = pb.DataType.Value(port.datatype.config)
        dims = _dims(port, batched, what)
        if not entry.dims and not entry.HasField("reshape"):
            entry.dims.extend(dims)
        elif len(entry.dims) != len(dims) and not entry.HasField("reshape"):
            raise ModelError(
                f"{CONFIG_FILE} gives {what} '{port.name}' dims {list(entry.dims)}; the model has {list(dims)}"
                + (" beside the batch dimension" if batched else "")
            )


def _dims(port: Port, batched: bool, what: str) -> tuple[int, ...]:
    if not batched:
        return port.shape
    if not port.shape:
        raise ModelError(f"max_batch_size is set, but the {what} '{port.name}' is a scalar and has no batch dimension")
    if port.shape[0] != -1:
        raise ModelError(
            f"max_batch_size is set, but the first dimension of the {what} '{port.name}' is fixed at {port.shape[0]}"
        )
    return port.shape[1:]
