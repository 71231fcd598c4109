"""Triton's classification extension: an output as its N largest values, each as the text `value:index` or `value:index:label`.

Asked for by the parameter `classification` of a requested output, on both wires; the output is then BYTES of shape [N], or
[rows, N] where the model has a batch dimension. Labels are the lines of the file that `label_filename` names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from crossover.model_server import own_files
from crossover.model_server.model_error import ModelError
from crossover.protocol.datatypes import datatype
from crossover.protocol.errors import invalid
from crossover.protocol.messages import ParameterValue, RequestedOutput
from crossover.protocol.names import shown
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb

PARAMETER = "classification"
MOST_LABEL_BYTES = 16 << 20
_NUMBERS = frozenset({"int", "float"})
Labels = Mapping[str, list[str]]


def labels_of(config: pb.ModelConfig, folder: Path, model_file: Path | None = None) -> Labels:
    """Each output's labels; ModelError when a file is missing, too large, no text or outside the model's folder."""
    return {
        output.name: _read(folder, output.label_filename, output.name, model_file)
        for output in config.output
        if output.label_filename
    }


def _read(folder: Path, name: str, output: str, model_file: Path | None) -> list[str]:
    where = f"label_filename '{name[:80]}' of output '{output}'"
    if own_files.escapes(name) or not own_files.is_own(folder / name, folder, model_file):
        raise ModelError(f"{where} leads out of the model's folder")
    try:
        if not (folder / name).exists():
            raise ModelError(f"{where} is not in the model's folder")
        text = own_files.read(folder / name, MOST_LABEL_BYTES, where).decode("utf-8-sig").removesuffix("\n")
        return [line.removesuffix("\r") for line in text.split("\n")]  # str.splitlines knows more ends of a line
    except UnicodeDecodeError:
        raise ModelError(f"{where} is not UTF-8 text") from None
    except OSError:
        raise ModelError(f"{where} can't be read") from None


def count_asked(parameters: Mapping[str, ParameterValue]) -> int:
    """How many classes are asked for; 0 without the parameter. INVALID_ARGUMENT unless it is a positive integer."""
    count = parameters.get(PARAMETER)
    if count is None:
        return 0
    if type(count) is not int or count < 1:
        raise invalid(f"parameter '{PARAMETER}' is {shown(count)}; it takes the number of classes, an integer above 0")
    return count


def applied(outputs: Sequence[RequestedOutput], tensors: list[Tensor], labels: Labels, batched: bool) -> list[Tensor]:
    """The outputs in the form that was asked for; `tensors` are the requested outputs in order."""
    return [
        classified(tensor, count, labels.get(tensor.name, []), batched)
        if (count := count_asked(output.parameters))
        else tensor
        for output, tensor in zip(outputs, tensors, strict=True)
    ]


def classified(tensor: Tensor, count: int, labels: Sequence[str], batched: bool) -> Tensor:
    """The `count` largest values of each row as BYTES; fewer where there are fewer."""
    if tensor.datatype.kind not in _NUMBERS:
        raise invalid(
            f"output '{tensor.name}' is {tensor.datatype.name}, which has no largest values; leave '{PARAMETER}' out"
        )
    rows = tensor.shape[0] if batched and tensor.shape else 1
    size = math.prod(tensor.shape[1:] if batched else tensor.shape)
    values = tensor.array.reshape(rows, size)
    count = min(count, size)
    keys = (
        ~values if tensor.datatype.kind == "int" else -values.astype(np.float64)
    )  # ~ turns integers' order without overflow
    order = np.argsort(keys, axis=1, kind="stable")[:, :count]
    texts = [
        _text(values[row, index], int(index), labels).encode() for row in range(rows) for index in order[row].tolist()
    ]
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    shape = (rows, count) if batched and tensor.shape else (count,)
    return Tensor(tensor.name, datatype("BYTES"), shape, array=array.reshape(shape))


def _text(value: np.generic, index: int, labels: Sequence[str]) -> str:
    """Floating-point values with six decimals, as C++'s to_string gives them."""
    number = f"{float(value):.6f}" if not isinstance(value, np.integer) else str(int(value))
    label = labels[index] if index < len(labels) else ""
    return f"{number}:{index}:{label}" if label else f"{number}:{index}"
