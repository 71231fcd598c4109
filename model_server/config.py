"""A model's configuration: what `config.pbtxt` says (Triton's text format), completed from the ONNX graph.

Nothing is refused for being unknown to us; what a file asks for and does not get is named once in the log
(config_fields.py says what becomes of each field).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format

from crossover.model_server import config_fields, config_text, own_files
from crossover.model_server.ensemble import graph as ensembles
from crossover.model_server.model_error import ModelError
from crossover.protos import inference as pb

CONFIG_FILE = "config.pbtxt"
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
DEFAULT_FILE = "model.onnx"
MOST_CHARS = 256 << 10
"""Of a configuration; real ones have a few thousand. protobuf's text parser takes ten seconds for a megabyte."""
_SERVED = frozenset({"", PLATFORM, BACKEND, "onnx_onnxv1"})


def read(folder: Path) -> tuple[pb.ModelConfig, list[str]]:
    """The folder's config.pbtxt, or an empty configuration; and what it asks for and does not get, a phrase each.

    ModelError when it can't be read or served.
    """
    path = folder / CONFIG_FILE
    if not path.exists():
        return pb.ModelConfig(name=folder.name), []
    try:
        text = own_files.read(path, 4 * MOST_CHARS, CONFIG_FILE).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise ModelError(f"{CONFIG_FILE} can't be read: {error.strerror}") from error
    return read_text(text, folder.name)


def from_text(text: str, name: str) -> pb.ModelConfig:
    """The configuration in Triton's text format."""
    return read_text(text, name)[0]


def read_text(text: str, name: str) -> tuple[pb.ModelConfig, list[str]]:
    """The same, and what of it is not honoured, a phrase each."""
    _check_size(text)
    config = pb.ModelConfig()
    try:
        unknown = config_text.parse(text, config)
    except (
        text_format.ParseError,
        ValueError,
    ) as error:  # the library checks an enum's range too late for its own error
        raise ModelError(f"{CONFIG_FILE} is not a model configuration: {str(error)[:300]}") from error
    _check(config, name)
    return config, _ignored(config, unknown)


def from_json(text: str, name: str) -> tuple[pb.ModelConfig, list[str]]:
    """The configuration that a `load` call brings as JSON, and what of it is not honoured, a phrase each."""
    _check_size(text)
    config = pb.ModelConfig()
    try:
        document = json.loads(text, object_pairs_hook=_object)
        if not isinstance(document, dict):
            raise ModelError("the configuration that came with load is JSON, but not an object")
        unknown = config_text.take_unknown(document, config)
        json_format.ParseDict(document, config, max_recursion_depth=64)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        why = str(error).replace("\n", " ")[:200]
        raise ModelError(
            f"the configuration that came with load is not a model configuration in JSON: {why}"
        ) from error
    _check(config, name)
    return config, _ignored(config, unknown)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name '{twice[:60]}' occurs twice in an object")
    return document


def _ignored(config: pb.ModelConfig, unknown: list[str]) -> list[str]:
    return [*config_fields.named(config), *(f"{path} (an unknown field)" for path in unknown)]


def _check_size(text: str) -> None:
    if len(text) > MOST_CHARS:
        raise ModelError(f"the model's configuration has {len(text)} characters; it takes {MOST_CHARS} at most")


def _check(config: pb.ModelConfig, name: str) -> None:
    """ModelError that names the first field which cannot be served; fills in the name."""
    if config.name and config.name != name:
        raise ModelError(f"{CONFIG_FILE} names the model '{config.name}', but its folder is '{name}'")
    config.name = name
    if (reason := config_fields.refused(config)) is not None:
        raise ModelError(reason)
    if not ensembles.is_ensemble(config):
        _check_platform(config)
    if config.max_batch_size < 0:
        raise ModelError(f"{CONFIG_FILE} sets max_batch_size to {config.max_batch_size}; it takes 0 or more")
    for what, entries in (("input", config.input), ("output", config.output)):
        _check_ports(what, entries)
    _check_versions(config.version_policy)
    for group in config.instance_group:
        if group.count < 0:
            raise ModelError(f"{CONFIG_FILE} sets instance_group.count to {group.count}; it takes 1 or more")
    if ensembles.is_ensemble(config):
        ensembles.graph_of(config)


def _check_platform(config: pb.ModelConfig) -> None:
    for field, value in (("platform", config.platform), ("backend", config.backend)):
        if value not in _SERVED:
            raise ModelError(
                f"{CONFIG_FILE} sets {field} to '{value[:80]}'; this server runs '{PLATFORM}' and '{ensembles.PLATFORM}'"
            )


def _check_ports(what: str, entries: Sequence[Any]) -> None:
    """Each has a name of its own, and sizes that a dimension can have."""
    names: set[str] = set()
    for entry in entries:
        if not entry.name:
            raise ModelError(f"{CONFIG_FILE} has an {what} without a name")
        if entry.name in names:
            raise ModelError(f"{CONFIG_FILE} names the {what} '{entry.name[:80]}' twice")
        names.add(entry.name)
        for field, dims in (("dims", entry.dims), ("reshape", entry.reshape.shape)):
            if any(dim < -1 for dim in dims):
                raise ModelError(
                    f"{CONFIG_FILE} gives {what} '{entry.name[:80]}' the {field} {list(dims)}; "
                    "each is 0 or more, or -1 for any size"
                )


def _check_versions(policy: pb.ModelVersionPolicy) -> None:
    for number in policy.specific.versions:
        if number < 1:
            raise ModelError(f"{CONFIG_FILE} names the version {number} in version_policy; versions count from 1")
    if policy.WhichOneof("policy_choice") == "specific" and not policy.specific.versions:
        raise ModelError(f"{CONFIG_FILE} has a version_policy 'specific' without versions")


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


def absent_versions(config: pb.ModelConfig, present: Sequence[int]) -> list[int]:
    """The versions that the policy names and that are not there; ascending."""
    return sorted(set(config.version_policy.specific.versions) - set(present))


def most_instances(config: pb.ModelConfig) -> int:
    """Runs of the model at the same time that `instance_group` allows; 0 where it says nothing."""
    return sum(max(1, group.count) for group in config.instance_group)


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
