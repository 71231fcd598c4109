"""How every model here is written: opset 17, IR 8, checked, `<name>/<version>/model.onnx`."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import GraphProto, helper

OPSET, IR = 17, 8


def save(graph: GraphProto, folder: Path) -> None:
    model = helper.make_model(graph, producer_name="crossover", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR
    onnx.checker.check_model(model, full_check=True)
    path = folder / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
