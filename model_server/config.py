"""A model's configuration: what `config.pbtxt` says (Triton's text format), completed from the ONNX graph.

Nothing is refused for being unknown to us; what a file asks for and we do not honour is named once in the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import json_format, text_format

from crossover.model_server.onnx_session import ModelError
from crossover.protos import inference as pb

CONFIG_FILE = "config.pbtxt"
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
DEFAULT_FILE = "model.onnx"
HONOURED = frozenset(
    {"name", "platform", "backend", "version_policy", "max_batch_size", "input", "output", "default_model_filename",
     "dynamic_batching", "parameters"}
)  # fmt: skip
_HONOURED_OF_PORTS = frozenset({"name", "data_type", "dims", "reshape", "optional", "format"})
_SERVED = frozenset({"", PLATFORM, BACKEND, "onnx_onnxv1"})
_TOKEN = re.compile(
    r"""(?P<skip>\#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<open>[\[{<])|(?P<close>[\]}>])"""
    r"""|(?P<name>[A-Za-z_]\w*)(?=\s*[:{<\[])"""
)


def read(folder: Path) -> tuple[pb.ModelConfig, list[str]]:
    """The folder's config.pbtxt, or an empty configuration; and the fields in it that are not honoured.

    ModelError when it can't be read.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        return pb.ModelConfig(name=folder.name), []
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ModelError(f"{CONFIG_FILE} is not UTF-8 text") from None
    except OSError as error:
        raise ModelError(f"{CONFIG_FILE} can't be read: {error.strerror}") from error
    config = from_text(text, folder.name)
    return config, sorted({*unhonoured(config), *unknown_fields(text)})


def from_text(text: str, name: str) -> pb.ModelConfig:
    """The configuration in Triton's text format."""
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
    for told in (config.platform, config.backend):
        if told not in _SERVED:
            raise ModelError(f"{CONFIG_FILE} wants '{told}'; this server runs '{PLATFORM}' only")
    if config.max_batch_size < 0:
        raise ModelError(f"max_batch_size is {config.max_batch_size}; it takes 0 or more")
    return config


def unhonoured(config: pb.ModelConfig) -> list[str]:
    """Fields that the configuration sets and this server does not honour."""
    found = [field.name for field, _ in config.ListFields() if field.name not in HONOURED]
    for what in ("input", "output"):
        for entry in getattr(config, what):
            found += [f"{what}.{field.name}" for field, _ in entry.ListFields() if field.name not in _HONOURED_OF_PORTS]
    return sorted(set(found))


def unknown_fields(text: str) -> list[str]:
    """Names of fields at the top level of the text that our ModelConfig message does not have."""
    depth, found = 0, set()
    for token in _TOKEN.finditer(text):
        depth += {"open": 1, "close": -1}.get(str(token.lastgroup), 0)
        if token.lastgroup == "name" and depth == 0 and token[0] not in pb.ModelConfig.DESCRIPTOR.fields_by_name:
            found.add(token["name"])
    return sorted(found)


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


def completed(config: pb.ModelConfig) -> pb.ModelConfig:
    """A copy with Triton's defaults for what the file leaves out; the inputs and outputs are `ports.agree`'s."""
    full = pb.ModelConfig()
    full.CopyFrom(config)
    full.platform = full.platform or PLATFORM
    full.backend = full.backend or BACKEND
    full.default_model_filename = full.default_model_filename or DEFAULT_FILE
    if not full.HasField("version_policy"):
        full.version_policy.latest.num_versions = 1
    return full
