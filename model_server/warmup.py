"""`model_warmup` of config.pbtxt: requests that run when a version is loaded; it is READY after them (Triton's ModelWarmup).

Values are zeros, random, or the bytes of a file in the model's folder `warmup`, in the protocol's raw form.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.model_server import own_files
from crossover.model_server.model_error import ModelError
from crossover.protocol.datatypes import Datatype
from crossover.protocol.datatypes import datatype as datatype_of
from crossover.protocol.errors import InferenceError
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = "warmup"
MOST_BYTES = 1 << 30
MOST_RUNS = 10_000
_RANDOM_SEED = 1


def requests(
    config: pb.ModelConfig, folder: Path, model_file: Path | None = None
) -> list[tuple[str, int, InferRequest]]:
    """Name, number of runs and request of each warm-up; ModelError, naming it, where one cannot be made."""
    return [
        (entry.name, _runs(entry), _request(entry, config, folder, model_file))
        for entry in config.model_warmup
        if not is_skipped(entry, config)
    ]


def is_skipped(entry: Any, config: pb.ModelConfig) -> bool:
    """A warm-up of no rows does not run, as in Triton."""
    return config.max_batch_size > 0 and entry.batch_size == 0


def run(config: pb.ModelConfig, folder: Path, model_file: Path, infer: Callable[[InferRequest], object]) -> None:
    """Run them all; ModelError, naming the one that fails and why."""
    for name, count, request in requests(config, folder, model_file):
        try:
            for _ in range(count):
                infer(request)
        except InferenceError as error:
            raise ModelError(f"model_warmup '{name}' failed: {error.message}") from error


def _runs(entry: Any) -> int:
    if entry.count > MOST_RUNS:
        raise ModelError(f"model_warmup '{entry.name}' sets count to {entry.count}; it takes {MOST_RUNS} at most")
    return max(1, int(entry.count))


def _request(entry: Any, config: pb.ModelConfig, folder: Path, model_file: Path | None) -> InferRequest:
    batched = config.max_batch_size > 0
    if batched and not 1 <= entry.batch_size <= config.max_batch_size:
        raise ModelError(
            f"model_warmup '{entry.name}' sets batch_size to {entry.batch_size}; it takes 1 to {config.max_batch_size}"
        )
    if not batched and entry.batch_size > 1:
        raise ModelError(
            f"model_warmup '{entry.name}' sets batch_size to {entry.batch_size}; the model has no batch dimension"
        )
    rows = (entry.batch_size,) if batched else ()
    tensors = [_tensor(entry.name, name, entry.inputs[name], rows, folder, model_file) for name in sorted(entry.inputs)]
    return InferRequest(config.name, tensors)


def _tensor(warmup: str, name: str, entry: Any, rows: tuple[int, ...], folder: Path, model_file: Path | None) -> Tensor:
    where = f"model_warmup '{warmup}', input '{name}'"
    shape = (*rows, *entry.dims)
    if any(dim < 0 for dim in shape):
        raise ModelError(f"{where} has dims {list(entry.dims)}; a warm-up needs fixed ones")
    row = _datatype(where, entry.data_type)
    count = math.prod(shape)
    if count * max(1, row.itemsize) > MOST_BYTES:
        raise ModelError(f"{where} has more than {MOST_BYTES} bytes")
    if entry.WhichOneof("input_data_type") == "input_data_file":
        try:
            return Tensor.from_raw(name, row.name, shape, _file(where, entry.input_data_file, folder, model_file))
        except InferenceError as error:
            raise ModelError(f"{where}: {error.message}") from error
    return _made(name, row, shape, random=entry.random_data)


def _made(name: str, row: Datatype, shape: tuple[int, ...], *, random: bool) -> Tensor:
    count = math.prod(shape)
    if row.kind == "bytes":
        array = np.empty(count, dtype=object)
        array[:] = [b"%d" % number if random else b"" for number in range(count)]
        return Tensor(name, row, shape, array=array.reshape(shape))
    if not random:
        return Tensor(name, row, shape, raw=bytes(count * row.itemsize))
    generator = np.random.default_rng(_RANDOM_SEED)
    if row.kind == "float":
        return Tensor(name, row, shape, array=generator.random(shape, np.float32).astype(row.dtype))
    most = 2 if row.kind == "bool" else 100
    return Tensor(name, row, shape, array=generator.integers(0, most, shape).astype(row.dtype))


def _datatype(where: str, number: int) -> Datatype:
    name = pb.DataType.Name(number).removeprefix("TYPE_")
    if name == "INVALID":
        raise ModelError(f"{where} has no data_type")
    return datatype_of("BYTES" if name == "STRING" else name)


def _file(where: str, name: str, folder: Path, model_file: Path | None) -> bytes:
    path = folder / FOLDER / name
    what = f"{where} names the file '{name[:80]}', which"
    if own_files.escapes(name) or not own_files.is_own(path, folder, model_file):
        raise ModelError(f"{what} leads out of the folder '{FOLDER}'")
    try:
        if not path.exists():
            raise ModelError(f"{what} is not in the model's folder '{FOLDER}'")
        return own_files.read(path, MOST_BYTES, what)
    except OSError:
        raise ModelError(f"{what} can't be read") from None
