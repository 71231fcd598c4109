"""Where the command line's inputs come from: JSON, a .npy file, or a model's committed samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocol.datatypes import datatype
from protocol.errors import invalid
from protocol.tensors import Tensor
from protos import inference as pb

MODELS = Path(__file__).resolve().parent.parent / "models"


def inputs_of(metadata: pb.ModelMetadataResponse, given: Sequence[str], sample: int) -> tuple[list[Tensor], str]:
    """The inputs and, for a sample, its true label. `given` are `name=value` or, with one input, `value`.

    A value is JSON text, `@file.json` or `@file.npy`.
    """
    if not given:
        return _sample(metadata, sample)
    ports = {port.name: port for port in metadata.inputs}
    found: list[Tensor] = []
    for text in given:
        name, value = _named(text, list(ports))
        array = np.asarray(_value(value), dtype=datatype(ports[name].datatype).dtype)
        found.append(Tensor.from_array(name, _shaped(array, list(ports[name].shape)), datatype(ports[name].datatype)))
    return found, ""


def _named(text: str, names: list[str]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals and name in names:
        return name, value
    if len(names) == 1:
        return names[0], text
    raise invalid(f"'{text[:60]}' does not name an input; write NAME=VALUE with one of {', '.join(names)}")


def _value(text: str) -> object:
    try:
        if text.startswith("@"):
            path = Path(text[1:])
            return np.load(path) if path.suffix == ".npy" else json.loads(path.read_text("utf-8"))
        return json.loads(text)
    except (OSError, ValueError) as error:
        raise invalid(f"'{text[:60]}' is not JSON, nor a file of JSON or .npy after '@': {error}") from None


def _shaped(array: np.ndarray, declared: list[int]) -> np.ndarray:
    """A flat or too small array in the model's shape, when there is one way to do so."""
    if array.ndim == len(declared) or declared.count(-1) > 1:
        return array
    try:
        return array.reshape(declared)
    except ValueError:
        return array


def _sample(metadata: pb.ModelMetadataResponse, number: int) -> tuple[list[Tensor], str]:
    path = MODELS / metadata.name / "samples.json"
    if not path.exists():
        names = ", ".join(f"{port.name}={port.datatype}{list(port.shape)}" for port in metadata.inputs)
        raise invalid(f"model '{metadata.name}' has no samples; give its inputs with --input ({names})")
    document = json.loads(path.read_text("utf-8"))
    samples = document["samples"]
    if not 0 <= number < len(samples):
        raise invalid(f"sample {number} does not exist; '{metadata.name}' has samples 0 to {len(samples) - 1}")
    chosen = samples[number]
    return [Tensor.from_array(document["input"], np.asarray([chosen["inputs"]], np.float32))], str(chosen["label"])
