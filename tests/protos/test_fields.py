"""Every field of the contract has the name, number and type that the protocol gives it."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from crossover.protos import inference as pb

PARAMETERS = "map<string,InferParameter> parameters"
NAME_VERSION = "1 string name; 2 string version"
TENSOR = f"1 string name; 2 string datatype; 3 repeated int64 shape; 4 {PARAMETERS}; 5 InferTensorContents contents"
REPOSITORY_CALL = (
    "1 string repository_name; 2 string model_name; 3 map<string,ModelRepositoryParameter> parameters"  # both calls
)
DURATIONS = "compute_input compute_infer compute_output"


def durations(first: int, names: str) -> str:
    return "; ".join(f"{number} StatisticDuration {name}" for number, name in enumerate(names.split(), first))


# OIP's gRPC specification, and Triton's grpc_service.proto and model_config.proto for what it adds.
MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": NAME_VERSION,
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{NAME_VERSION}; 3 repeated string extensions",
    "ModelMetadataRequest": NAME_VERSION,
    "ModelMetadataResponse": (
        "1 string name; 2 repeated string versions; 3 string platform; 4 repeated TensorMetadata inputs; "
        "5 repeated TensorMetadata outputs; 6 map<string,string> properties"
    ),
    "ModelMetadataResponse.TensorMetadata": "1 string name; 2 string datatype; 3 repeated int64 shape",
    "InferParameter": (
        "1 bool bool_param; 2 int64 int64_param; 3 string string_param; 4 double double_param; 5 uint64 uint64_param"
    ),
    "InferTensorContents": (
        "1 repeated bool bool_contents; 2 repeated int32 int_contents; 3 repeated int64 int64_contents; "
        "4 repeated uint32 uint_contents; 5 repeated uint64 uint64_contents; 6 repeated float fp32_contents; "
        "7 repeated double fp64_contents; 8 repeated bytes bytes_contents"
    ),
    "ModelInferRequest": (
        f"1 string model_name; 2 string model_version; 3 string id; 4 {PARAMETERS}; 5 repeated InferInputTensor inputs; "
        "6 repeated InferRequestedOutputTensor outputs; 7 repeated bytes raw_input_contents"
    ),
    "ModelInferRequest.InferInputTensor": TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": f"1 string name; 2 {PARAMETERS}",
    "ModelInferResponse": (
        f"1 string model_name; 2 string model_version; 3 string id; 4 {PARAMETERS}; "
        "5 repeated InferOutputTensor outputs; 6 repeated bytes raw_output_contents"
    ),
    "ModelInferResponse.InferOutputTensor": TENSOR,
    "ModelStreamInferResponse": "1 string error_message; 2 ModelInferResponse infer_response",
    "ModelConfigRequest": NAME_VERSION,
    "ModelConfigResponse": "1 ModelConfig config",
    "ModelStatisticsRequest": NAME_VERSION,
    "ModelStatisticsResponse": "1 repeated ModelStatistics model_stats",
    "StatisticDuration": "1 uint64 count; 2 uint64 ns",
    "InferStatistics": durations(1, f"success fail queue {DURATIONS} cache_hit cache_miss"),
    "InferResponseStatistics": durations(1, "compute_infer compute_output success fail empty_response cancel"),
    "InferBatchStatistics": f"1 uint64 batch_size; {durations(2, DURATIONS)}",
    "MemoryUsage": "1 string type; 2 int64 id; 3 uint64 byte_size",
    "ModelStatistics": (
        f"{NAME_VERSION}; 3 uint64 last_inference; 4 uint64 inference_count; 5 uint64 execution_count; "
        "6 InferStatistics inference_stats; 7 repeated InferBatchStatistics batch_stats; "
        "8 repeated MemoryUsage memory_usage; 9 map<string,InferResponseStatistics> response_stats"
    ),
    "ModelRepositoryParameter": "1 bool bool_param; 2 int64 int64_param; 3 string string_param; 4 bytes bytes_param",
    "RepositoryIndexRequest": "1 string repository_name; 2 bool ready",
    "RepositoryIndexResponse": "1 repeated ModelIndex models",
    "RepositoryIndexResponse.ModelIndex": f"{NAME_VERSION}; 3 string state; 4 string reason",
    "RepositoryModelLoadRequest": REPOSITORY_CALL,
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": REPOSITORY_CALL,
    "RepositoryModelUnloadResponse": "",
    "SystemSharedMemoryStatusRequest": "1 string name",
    "SystemSharedMemoryStatusResponse": "1 map<string,RegionStatus> regions",
    "SystemSharedMemoryStatusResponse.RegionStatus": "1 string name; 2 string key; 3 uint64 offset; 4 uint64 byte_size",
    "SystemSharedMemoryRegisterRequest": "1 string name; 2 string key; 3 uint64 offset; 4 uint64 byte_size",
    "SystemSharedMemoryRegisterResponse": "",
    "SystemSharedMemoryUnregisterRequest": "1 string name",
    "SystemSharedMemoryUnregisterResponse": "",
    "CudaSharedMemoryStatusRequest": "1 string name",
    "CudaSharedMemoryStatusResponse": "1 map<string,RegionStatus> regions",
    "CudaSharedMemoryStatusResponse.RegionStatus": "1 string name; 2 uint64 device_id; 3 uint64 byte_size",
    "CudaSharedMemoryRegisterRequest": "1 string name; 2 bytes raw_handle; 3 int64 device_id; 4 uint64 byte_size",
    "CudaSharedMemoryRegisterResponse": "",
    "CudaSharedMemoryUnregisterRequest": "1 string name",
    "CudaSharedMemoryUnregisterResponse": "",
    "ModelInput": (
        "1 string name; 2 DataType data_type; 3 Format format; 4 repeated int64 dims; 5 ModelTensorReshape reshape; "
        "6 bool is_shape_tensor; 7 bool allow_ragged_batch; 8 bool optional; 9 bool is_non_linear_format_io"
    ),
    "ModelOutput": (
        "1 string name; 2 DataType data_type; 3 repeated int64 dims; 4 string label_filename; "
        "5 ModelTensorReshape reshape; 6 bool is_shape_tensor; 7 bool is_non_linear_format_io"
    ),
    "ModelVersionPolicy": "1 Latest latest; 2 All all; 3 Specific specific",
    "ModelDynamicBatching": (
        "1 repeated int32 preferred_batch_size; 2 uint64 max_queue_delay_microseconds; 3 bool preserve_ordering; "
        "4 uint64 priority_levels; 5 uint64 default_priority_level; 6 ModelQueuePolicy default_queue_policy; "
        "7 map<uint64,ModelQueuePolicy> priority_queue_policy"
    ),
    "ModelQueuePolicy": (
        "1 TimeoutAction timeout_action; 2 uint64 default_timeout_microseconds; 3 bool allow_timeout_override; "
        "4 uint32 max_queue_size"
    ),
    "ModelConfig": (
        "1 string name; 2 string platform; 3 ModelVersionPolicy version_policy; 4 int32 max_batch_size; "
        "5 repeated ModelInput input; 6 repeated ModelOutput output; 7 repeated ModelInstanceGroup instance_group; "
        "8 string default_model_filename; 9 map<string,string> cc_model_filenames; "
        "10 map<string,string> metric_tags; 11 ModelDynamicBatching dynamic_batching; "
        "12 ModelOptimizationPolicy optimization; 13 ModelSequenceBatching sequence_batching; "
        "14 map<string,ModelParameter> parameters; 15 ModelEnsembling ensemble_scheduling; "
        "16 repeated ModelWarmup model_warmup; 17 string backend; 18 ModelOperations model_operations; "
        "19 ModelTransactionPolicy model_transaction_policy; 20 repeated BatchInput batch_input; "
        "21 repeated BatchOutput batch_output; 23 ModelRepositoryAgents model_repository_agents; "
        "24 ModelResponseCache response_cache; 25 string runtime; 26 ModelMetrics model_metrics"
    ),
    "ModelInstanceGroup": (
        "1 string name; 2 int32 count; 3 repeated int32 gpus; 4 Kind kind; 5 repeated string profile; "
        "6 ModelRateLimiter rate_limiter; 7 bool passive; 8 repeated SecondaryDevice secondary_devices; "
        "9 string host_policy"
    ),
    "ModelOptimizationPolicy": (
        "1 Graph graph; 2 ModelPriority priority; 3 Cuda cuda; 4 ExecutionAccelerators execution_accelerators; "
        "5 PinnedMemoryBuffer input_pinned_memory; 6 PinnedMemoryBuffer output_pinned_memory; "
        "7 uint32 gather_kernel_buffer_threshold; 8 bool eager_batching"
    ),
    "ModelSequenceBatching": (
        "1 uint64 max_sequence_idle_microseconds; 2 repeated ControlInput control_input; 3 StrategyDirect direct; "
        "4 StrategyOldest oldest; 5 repeated State state; 6 bool iterative_sequence"
    ),
    "ModelEnsembling": ("1 repeated Step step; 2 uint32 max_inflight_requests"),
    "BatchInput": ("1 Kind kind; 2 repeated string target_name; 3 DataType data_type; 4 repeated string source_input"),
    "BatchOutput": ("1 repeated string target_name; 2 Kind kind; 3 repeated string source_input"),
    "ModelWarmup": ("1 string name; 2 uint32 batch_size; 3 map<string,Input> inputs; 4 uint32 count"),
    "ModelMetrics": ("1 repeated MetricControl metric_control"),
}

DATA_TYPES = "INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 STRING BF16"

# name: request, response, does the caller stream, does the service stream
METHODS = {
    **{
        name: (f"{name}Request", f"{name}Response", False, False)
        for name in (
            "ServerLive ServerReady ModelReady ServerMetadata ModelMetadata ModelInfer ModelConfig ModelStatistics "
            "RepositoryIndex RepositoryModelLoad RepositoryModelUnload SystemSharedMemoryStatus SystemSharedMemoryRegister "
            "SystemSharedMemoryUnregister CudaSharedMemoryStatus CudaSharedMemoryRegister CudaSharedMemoryUnregister"
        ).split()
    },
    "ModelStreamInfer": ("ModelInferRequest", "ModelStreamInferResponse", True, True),
}

TYPE_NAMES = {
    getattr(FieldDescriptor, f"TYPE_{name.upper()}"): name
    for name in "bool int32 int64 uint32 uint64 float double string bytes".split()
}


def described(message: Descriptor) -> str:
    """The fields of a message in the notation of the table above, by number."""
    return "; ".join(f"{field.number} {typed(field)} {field.name}" for field in by_number(message))


def by_number(message: Descriptor) -> list[FieldDescriptor]:
    return sorted(message.fields, key=lambda field: field.number)


def typed(field: FieldDescriptor) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = by_number(field.message_type)
        return f"map<{typed(key)},{typed(value)}>"
    declared = field.message_type or field.enum_type
    name = declared.name if declared else TYPE_NAMES[field.type]
    return f"repeated {name}" if field.is_repeated else name


@pytest.mark.parametrize("name", MESSAGES)
def test_fields_are_the_protocols(name):
    """A message has exactly the protocol's fields under their numbers."""
    assert described(pb.POOL.FindMessageTypeByName(f"inference.{name}")) == MESSAGES[name]


def test_the_table_covers_the_service():
    """Every message that a call sends or returns stands in the table."""
    used = {each.DESCRIPTOR.name for method in pb.METHODS.values() for each in (method.request, method.response)}
    assert used <= set(MESSAGES)


def test_methods_are_the_protocols():
    """The service has OIP's six calls and the extensions' twelve, and only ModelStreamInfer streams."""
    assert {
        name: (method.request.DESCRIPTOR.name, method.response.DESCRIPTOR.name, *method[2:])
        for name, method in pb.METHODS.items()
    } == METHODS


def test_data_types_are_the_protocols():
    """DataType's numbers are Triton's; what the messages call BYTES is STRING here."""
    assert pb.DataType.items() == [(f"TYPE_{name}", number) for number, name in enumerate(DATA_TYPES.split())]


@pytest.mark.parametrize(
    ("message", "choice", "fields"),
    [
        ("InferParameter", "parameter_choice", 5),
        ("ModelRepositoryParameter", "parameter_choice", 4),
        ("ModelVersionPolicy", "policy_choice", 3),
        ("ModelConfig", "scheduling_choice", 3),
    ],
)
def test_choices_hold_one_value(message, choice, fields):
    """Of alternatives only one can be set, as in the protocol."""
    oneof = pb.POOL.FindMessageTypeByName(f"inference.{message}").oneofs_by_name[choice]
    assert len(oneof.fields) == fields
