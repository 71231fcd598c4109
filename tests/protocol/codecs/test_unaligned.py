"""Tensors are views on wire bytes, which start at any address."""

import numpy as np
import pytest

from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64", "INT32", "UINT64"])
@pytest.mark.parametrize("start", range(8))
def test_typed_contents_of_an_unaligned_view(datatype, start):
    """A tensor whose bytes start at an odd address travels in typed contents as any other."""
    values = np.arange(6).astype({"FP32": "f4", "FP64": "f8", "INT64": "i8", "INT32": "i4", "UINT64": "u8"}[datatype])
    raw = memoryview(bytes(start) + values.tobytes())[start:]
    request = InferRequest("m", [Tensor.from_raw("x", datatype, [2, 3], raw)])
    decoded = protobuf_codec.decode_request(protobuf_codec.encode_request(request, typed=True))
    assert np.array_equal(decoded.inputs[0].array, values.reshape(2, 3))
