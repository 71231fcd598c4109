"""A repository of configurations as public projects write them, each with a model that fits it, and what it answers.

A model's outputs are made of the mean of each row of its inputs, so that rows can be told apart.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper

from crossover.model_server import config as configuration
from crossover.model_server.ensemble.graph import is_ensemble
from crossover.model_server.model_error import ModelError
from crossover.protocol.datatypes import BY_CONFIG
from crossover.protos import inference as pb
from tests.graphs import ONNX_TYPES

FOLDER = Path(__file__).parent / "public_configs"
NAMES = sorted(path.name for path in FOLDER.iterdir())
VARYING = 3
"""Elements of a dimension that varies."""
ROWS = 2
DEFAULT = 'input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 4 }'
"""Ports of a model whose configuration names none."""
Arrays = list[tuple[str, str, np.ndarray]]


def text_of(name: str) -> str:
    return (FOLDER / name / "config.pbtxt").read_text()


def build(repository: Path) -> dict[str, tuple[Arrays, Arrays]]:
    """All of them; for each model that can be served its inputs and what ONNX Runtime itself answers."""
    cases = {}
    for name in NAMES:
        shutil.copytree(FOLDER / name, repository / name)
        try:
            config = _with_ports(configuration.from_text(text_of(name), name))
        except ModelError:
            config = None
        if config is None or is_ensemble(config):
            (repository / name / "1").mkdir()
            continue
        model = _model(config)
        for version in config.version_policy.specific.versions or [1]:
            path = repository / name / str(version) / (config.default_model_filename or "model.onnx")
            path.parent.mkdir()
            path.write_bytes(model)
        inputs = [(entry.name, *_values(entry, config.max_batch_size)) for entry in config.input]
        cases[name] = (inputs, _answers(config, model, inputs))
    return cases


def _with_ports(config: pb.ModelConfig) -> pb.ModelConfig:
    if not config.input and not is_ensemble(config):
        ports = configuration.from_text(DEFAULT, config.name)
        config.input.extend(ports.input)
        config.output.extend(ports.output)
    return config


def inner(entry) -> list[int]:
    """The model's dimensions, without the batch."""
    return list(entry.reshape.shape) if entry.HasField("reshape") else list(entry.dims)


def _kind(entry) -> str:
    return BY_CONFIG[pb.DataType.Name(entry.data_type)].name


def _values(entry, batched: int) -> tuple[str, np.ndarray]:
    """Datatype and elements for callers."""
    shape = [*([ROWS] if batched else []), *(VARYING if dim == -1 else dim for dim in entry.dims)]
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape) * 7 % 11
    kind = _kind(entry)
    if kind == "BYTES":
        return kind, np.vectorize(lambda number: b"%d" % number, otypes=[object])(numbers)
    return kind, numbers.astype(BY_CONFIG[pb.DataType.Name(entry.data_type)].dtype)


def _answers(config: pb.ModelConfig, model: bytes, inputs: Arrays) -> Arrays:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    batch = (ROWS,) if config.max_batch_size else ()
    feed = {}
    for (name, kind, array), entry in zip(inputs, config.input, strict=True):
        fed = np.vectorize(lambda text: text.decode(), otypes=[object])(array) if kind == "BYTES" else array
        feed[name] = fed.reshape((*batch, *entry.reshape.shape)) if entry.HasField("reshape") else fed
    shown = []
    for entry, made in zip(config.output, session.run([one.name for one in config.output], feed), strict=True):
        if entry.HasField("reshape"):
            made = made.reshape((*batch, *entry.dims))
        if _kind(entry) == "BYTES":
            made = np.vectorize(lambda text: text.encode(), otypes=[object])(made)
        shown.append((entry.name, _kind(entry), made))
    return shown


def _model(config: pb.ModelConfig) -> bytes:
    batched = config.max_batch_size > 0
    rows = ["rows"] if batched else []
    nodes, constants, means = [], [], []
    for number, entry in enumerate(config.input):
        dims = inner(entry)
        nodes.append(helper.make_node("Cast", [entry.name], [f"float{number}"], to=TensorProto.FLOAT))
        constants.append(_constant(f"axes{number}", range(batched, len(dims) + batched)))
        nodes.append(
            helper.make_node(
                "ReduceMean", [f"float{number}", f"axes{number}"], [f"mean{number}"], keepdims=0, noop_with_empty_axes=1
            )
        )
        means.append(f"mean{number}")
    nodes.append(helper.make_node("Sum", means, ["total"]))
    nodes.append(helper.make_node("Shape", ["total"], ["batch"]))
    for number, entry in enumerate(config.output):
        dims = [VARYING if dim == -1 else dim for dim in inner(entry)]
        constants += [
            _constant(f"ones{number}", [*([-1] if batched else []), *[1] * len(dims)]),
            _constant(f"dims{number}", dims),
        ]
        nodes += [
            helper.make_node("Reshape", ["total", f"ones{number}"], [f"column{number}"]),
            helper.make_node("Concat", ["batch", f"dims{number}"], [f"shape{number}"], axis=0),
            helper.make_node("Expand", [f"column{number}", f"shape{number}"], [f"wide{number}"]),
            helper.make_node("Cast", [f"wide{number}"], [entry.name], to=ONNX_TYPES[_kind(entry)]),
        ]
    ports = [
        [
            helper.make_tensor_value_info(
                entry.name, ONNX_TYPES[_kind(entry)],
                rows + [f"{entry.name}_{at}" if dim == -1 else dim for at, dim in enumerate(inner(entry))],
            )
            for entry in entries
        ]
        for entries in (config.input, config.output)
    ]  # fmt: skip
    graph = helper.make_graph(nodes, config.name, *ports, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def _constant(name: str, numbers) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(list(numbers), np.int64), name)
