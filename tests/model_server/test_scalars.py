"""A scalar reaches the model as a scalar, in whatever way its values are handed to ONNX Runtime."""

from __future__ import annotations

import pytest

from crossover.model_server import config, model
from crossover.model_server.onnx_session import RunControl
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from tests.graphs import echo_graph, save


@pytest.mark.parametrize("datatype", DATATYPES)
def test_rank_zero_stays(tmp_path, datatype):
    """Shape [] in, shape [] out, for every datatype."""
    save(tmp_path, "m", echo_graph(datatype, []))
    loaded = model.load("m", tmp_path / "m", 1, config.from_text("", "m"), RuntimeOptions())
    raw = b"\1\0\0\0a" if datatype == "BYTES" else bytes(DATATYPES[datatype].itemsize)
    tensor = Tensor.from_raw("x", datatype, (), raw)
    (made,) = loaded.run([tensor], loaded.signature.bind(InferRequest("m", [tensor])), RunControl())
    assert (made.shape, bytes(made.raw)) == ((), raw)
