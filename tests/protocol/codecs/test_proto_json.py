"""Control-plane messages as JSON objects."""

import json

import pytest
from google.protobuf import json_format

from crossover.protocol.codecs.proto_json import from_object, to_object
from crossover.protocol.errors import InferenceError
from crossover.protos import inference as pb


def config() -> pb.ModelConfig:
    made = pb.ModelConfig(name="m", max_batch_size=8, backend="onnxruntime")
    made.input.add(name="x", data_type=11, dims=[-1, 2**62])
    made.dynamic_batching.max_queue_delay_microseconds = 2**63 + 1
    made.parameters["k"].string_value = "ü"
    made.version_policy.specific.versions.extend([1, 2**53 + 1])
    return made


def statistics() -> pb.ModelStatisticsResponse:
    made = pb.ModelStatisticsResponse()
    item = made.model_stats.add(name="m", version="1", inference_count=2**63)
    item.inference_stats.queue.ns = 5
    item.batch_stats.add(batch_size=8)
    item.response_stats["0"].success.count = 1
    return made


@pytest.mark.parametrize(
    "message", [config(), statistics(), pb.ModelMetadataResponse(name="m", versions=["1"])], ids=repr
)
@pytest.mark.parametrize("complete", [False, True])
def test_messages_come_back(message, complete):
    """to_object then from_object is the same message, exact for all 64 bits."""
    again = from_object(json.loads(json.dumps(to_object(message, complete))), type(message)())
    if complete:
        assert to_object(again, True) == to_object(message, True)
    else:
        assert again == message


def test_it_is_protos_own_json_but_for_numbers():
    """The keys and values are those of protobuf's own mapping with its names kept; 64-bit integers are numbers."""
    expected = json_format.MessageToDict(
        config(), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )

    def with_numbers(value, key=""):
        if isinstance(value, dict):
            return {name: with_numbers(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [with_numbers(item, key) for item in value]
        is_number = isinstance(value, str) and value.lstrip("-").isdigit()
        return int(value) if is_number else value

    assert to_object(config()) == with_numbers(expected)


@pytest.mark.parametrize("document", [None, [], 5, "x", {"name": 5}, {"max_batch_size": "x"}, {"input": {}},
                                      {"input": [5]}, {"max_batch_size": 2**40}])  # fmt: skip
def test_what_does_not_fit_is_one_sentence(document):
    """A reply that is not the message is INVALID_ARGUMENT, never another exception."""
    with pytest.raises(InferenceError, match="a ModelConfig"):
        from_object(document, pb.ModelConfig())


def test_unknown_keys_are_ignored():
    """Other servers send more than we know."""
    assert from_object({"name": "m", "new": {"a": 1}}, pb.ModelConfig()) == pb.ModelConfig(name="m")
