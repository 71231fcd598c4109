"""Configuration files as people write them for Triton are read with our ModelConfig."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from crossover.protos import inference as pb

WRITTEN_FOR_TRITON = """
# comments, both separators, lists in brackets, strings of either quote
name: "densenet_onnx"
platform: "onnxruntime_onnx"
max_batch_size : 0
input [
  { name: "data_0" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, 224, 224 ] reshape { shape: [ 1, 3, 224, 224 ] } }
]
output [
  { name: 'fc6_1', data_type: TYPE_FP32, dims: [ 1000 ], label_filename: "densenet_labels.txt" }
]
version_policy: { specific { versions: [1, 3] } }
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  default_queue_policy { timeout_action: DELAY max_queue_size: 10 }
  priority_queue_policy { key: 1 value { timeout_action: REJECT } }
}
parameters { key: "intra_op_thread_count" value { string_value: "2" } }
model_warmup [ { name: "zeros" batch_size: 1 inputs { key: "data_0" value: { data_type: TYPE_FP32 dims: 3 zero_data: true } } } ]
optimization { execution_accelerators { cpu_execution_accelerator : [ { name : "openvino" } ] } graph { level: 1 } }
"""


def test_a_file_written_for_triton_is_read():
    """What we declare is read; what we do not declare (optimization) is passed over."""
    config = text_format.Parse(WRITTEN_FOR_TRITON, pb.ModelConfig(), allow_unknown_field=True)
    assert config.name == "densenet_onnx"
    assert list(config.input[0].dims) == [3, 224, 224]
    assert config.input[0].format == pb.ModelInput.FORMAT_NCHW
    assert list(config.input[0].reshape.shape) == [1, 3, 224, 224]
    assert config.output[0].data_type == pb.DataType.Value("TYPE_FP32")
    assert list(config.version_policy.specific.versions) == [1, 3]
    assert config.instance_group[0].kind == pb.ModelInstanceGroup.KIND_CPU
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.dynamic_batching.priority_queue_policy[1].timeout_action == pb.ModelQueuePolicy.REJECT
    assert config.parameters["intra_op_thread_count"].string_value == "2"
    assert config.model_warmup[0].inputs["data_0"].zero_data


def test_a_wrong_value_is_refused_with_its_line():
    """A field that we declare is checked, and the error says where it stands."""
    with pytest.raises(text_format.ParseError, match="2:"):
        text_format.Parse('name: "m"\nmax_batch_size: "many"', pb.ModelConfig(), allow_unknown_field=True)
