"""The classification extension gives the largest values with index and label, as Triton does."""

from __future__ import annotations

import numpy as np
import pytest

from crossover.model_server import classification
from crossover.model_server.classification import classified, labels_of
from crossover.model_server.model_error import ModelError
from crossover.protocol.errors import InferenceError
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb


def texts(tensor):
    return [[text.decode() for text in row] for row in np.atleast_2d(tensor.array).tolist()]


def test_largest_first_with_labels():
    """Each row's largest values come first; floating-point values have six decimals; a label where there is one."""
    made = Tensor.from_array("y", np.array([[0.1, 0.7, 0.2], [0.5, 0.25, 0.25]], np.float32))
    shown = classified(made, 2, ["a", "b"], batched=True)
    assert shown.datatype.name == "BYTES" and shown.shape == (2, 2)
    assert texts(shown) == [["0.700000:1:b", "0.200000:2"], ["0.500000:0:a", "0.250000:1:b"]]


def test_no_rows_are_no_rows_of_classes():
    """A batch of no rows has the shape that its rows would have."""
    assert classified(Tensor.from_array("y", np.zeros((0, 4), np.float32)), 3, [], batched=True).shape == (0, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.array([-(2**63), 2**63 - 1, 0], np.int64),
        np.array([0, 2**64 - 1, 5], np.uint64),
        np.array([3, 250, 7], np.uint8),
    ],
)
def test_integers_keep_every_digit(array):
    """Integers are ordered exactly, at both ends of their range."""
    shown = classified(Tensor.from_array("y", array), 3, [], batched=False)
    expected = sorted(enumerate(array.tolist()), key=lambda item: -item[1])
    assert texts(shown) == [[f"{value}:{index}" for index, value in expected]]


def test_more_classes_than_values_gives_what_there_is():
    """The count is an upper bound."""
    shown = classified(Tensor.from_array("y", np.zeros((2, 2, 2), np.float16)), 99, [], batched=True)
    assert shown.shape == (2, 4)


@pytest.mark.parametrize("asked", [0, -1, True, "2", 1.5])
def test_the_parameter_takes_a_positive_integer(asked):
    """Anything else is INVALID_ARGUMENT."""
    with pytest.raises(InferenceError, match="takes the number of classes"):
        classification.count_asked({"classification": asked})


@pytest.mark.parametrize("array", [np.array([True]), np.array([b"x"], object)])
def test_what_has_no_largest_value_is_refused(array):
    """BOOL and BYTES outputs have no classes."""
    with pytest.raises(InferenceError, match="no largest values"):
        classified(Tensor.from_array("y", array), 1, [], batched=False)


def test_labels_end_where_lines_do(tmp_path):
    """At line feeds alone, as in Triton; an empty line is an index without a label."""
    (tmp_path / "l").write_bytes("\ufeffa\r\n\nb\u2028c\n".encode())
    config = pb.ModelConfig(output=[pb.ModelOutput(name="y", label_filename="l")])
    labels = labels_of(config, tmp_path)["y"]
    assert labels == ["a", "", "b\u2028c"]
    shown = classified(Tensor.from_array("y", np.array([1, 3, 2])), 3, labels, batched=False)
    assert [text.decode() for text in shown.array] == ["3:1", "2:2:b\u2028c", "1:0:a"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("none.txt", "is not in the model's folder"), ("../x", "leads out"), ("/etc/passwd", "leads out")],
)
def test_a_label_file_that_is_not_there_is_one_sentence(tmp_path, name, said):
    """The output and the file are named."""
    config = pb.ModelConfig(output=[pb.ModelOutput(name="y", label_filename=name)])
    with pytest.raises(ModelError, match=said):
        labels_of(config, tmp_path)


async def test_over_the_engine(digits_engine):
    """A requested output with the parameter comes as BYTES with the labels of the file; others as they are."""
    x = Tensor.from_array("x", np.zeros((2, 64), np.float32))
    request = InferRequest("digits", [x], outputs=[RequestedOutput("probabilities", {"classification": 3})])
    from crossover.protocol.inference import CallContext

    response = await digits_engine.infer(request, CallContext())
    shown = response.outputs[0]
    assert shown.datatype.name == "BYTES" and shown.shape == (2, 3)
    value, index, label = shown.array[0, 0].decode().split(":")
    assert 0 < float(value) <= 1 and label == index
