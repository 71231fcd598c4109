"""Where the command line's inputs come from: JSON, a file, or a model's committed samples."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.clients.client import ModelInfo, TensorInfo, tensor_as_declared
from crossover.protocol.codecs.json.codec import decode_request
from crossover.protocol.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.protocol.tensors import Tensor

Inputs = dict[str, "Tensor"]


def inputs_of(model: ModelInfo, given: Sequence[str], sample: int) -> tuple[Inputs, str | None]:
    """The inputs and, for a sample, its true label.

    `given` are `name=value` or, for a model with one input, `value`. A value is JSON text, `@file.json` or `@file.npy`;
    a single `@file.json` may hold a whole OIP request. INVALID_ARGUMENT, one sentence, for anything else.
    """
    if not given:
        return _sample(model, sample)
    if len(given) == 1 and (found := _request(model, given[0])) is not None:
        return found, None
    named = [_named(model, text) for text in given]
    return {tensor.name: _tensor(model, tensor, text) for tensor, text in named}, None


def _request(model: ModelInfo, text: str) -> Inputs | None:
    """The inputs of an OIP request, when `text` is one or names a file of one."""
    value = _value(text) if text.startswith(("@", "{")) and not text.endswith(".npy") else None
    if not isinstance(value, dict) or "inputs" not in value:
        return None
    request, _ = decode_request(json.dumps(value).encode(), model.name)
    return {tensor.name: tensor for tensor in request.inputs}


def _named(model: ModelInfo, text: str) -> tuple[TensorInfo, str]:
    name, equals, value = text.partition("=")
    for tensor in model.inputs:
        if equals and tensor.name == name:
            return tensor, value
    if len(model.inputs) == 1:
        return model.inputs[0], text
    names = ", ".join(tensor.name for tensor in model.inputs)
    raise invalid(f"--input '{text[:60]}' does not name an input; write NAME=VALUE with one of {names}")


def _tensor(model: ModelInfo, declared: TensorInfo, text: str) -> Tensor:
    found = tensor_as_declared(model, declared.name, _value(text))
    return tensor_as_declared(model, declared.name, _shaped(found.array, declared.shape))


def _value(text: str) -> Any:
    path = Path(text[1:]) if text.startswith("@") else None
    try:
        if path is None:
            return json.loads(text)
        return np.load(path) if path.suffix == ".npy" else json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise invalid(f"--input {text[:200]}: {error.strerror or 'it cannot be read'}") from None
    except ValueError:
        what = "the file is not" if path is not None else "it takes"
        raise invalid(f"--input '{text[:60]}': {what} JSON or, after '@', a file of JSON or .npy") from None


def _shaped(array: np.ndarray, declared: Sequence[int]) -> np.ndarray:
    """The array in the model's number of dimensions, where there is one way to do so: a flat row of a batch of rows."""
    fixed = math.prod(size for size in declared if size != -1)
    if array.ndim == len(declared) or list(declared).count(-1) > 1 or not fixed or array.size % fixed:
        return array
    return array.reshape(declared) if -1 in declared or array.size == fixed else array


def _sample(model: ModelInfo, number: int) -> tuple[Inputs, str]:
    folder = Path(os.environ.get("MODEL_REPOSITORY") or Path(__file__).resolve().parent.parent / "models")
    try:
        document = json.loads((folder / model.name / "samples.json").read_text("utf-8"))
        name, samples = document["input"], document["samples"]
    except (OSError, ValueError, LookupError, TypeError):
        names = ", ".join(f"{each.name}: {each.datatype} {list(each.shape)}" for each in model.inputs)
        raise invalid(f"model '{model.name}' has no samples; give its inputs with --input ({names})") from None
    if not 0 <= number < len(samples):
        raise invalid(f"--sample is {number}; '{model.name}' has samples 0 to {len(samples) - 1}")
    declared = next((each for each in model.inputs if each.name == name), model.inputs[0])
    array = tensor_as_declared(model, declared.name, samples[number]["inputs"]).array
    return {declared.name: tensor_as_declared(model, declared.name, _shaped(array, declared.shape))}, str(
        samples[number]["label"]
    )
