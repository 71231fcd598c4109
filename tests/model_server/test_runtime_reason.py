"""What ONNX Runtime says reaches people as a reason, without sources, signatures or paths of the host."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from crossover.model_server.runtime_reason import reason_of

LOAD = (
    "[ONNXRuntimeError] : 1 : FAIL : Load model from {path} failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:180 "
    "onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&, const "
    "onnxruntime::IOnnxRuntimeOpSchemaRegistryList*, const onnxruntime::logging::Logger&, const onnxruntime::ModelOptions&) "
)
RUN = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Reshape node. Name:'/m/r' "
    "Status Message: /onnxruntime_src/onnxruntime/core/providers/cpu/tensor/reshape_helper.h:47 "
    "onnxruntime::ReshapeHelper::ReshapeHelper(const onnxruntime::TensorShape&, onnxruntime::TensorShapeVector&, bool) "
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LOAD + "Unsupported model IR version: 99, max supported IR version: 11\n",
         "Unsupported model IR version: 99, max supported IR version: 11"),
        (RUN + "size was false. The input tensor cannot be reshaped. Input shape:{{3}}, requested shape:{{2}}\n",
         ("Non-zero status code returned while running Reshape node. Name:'/m/r' Status Message: size was false. The input "
         "tensor cannot be reshaped. Input shape:{3}, requested shape:{2}")),
        (("[ONNXRuntimeError] : 1 : FAIL : x.cc:12 std::unique_ptr<T> a::f(std::function<void(int)>) const "
         "[with T = std::vector<int>; U = float] bad thing (really)"), "bad thing (really)"),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input: x\n index: 1 Got: 3 Expected: 64",
         "Got invalid dimensions for input: x index: 1 Got: 3 Expected: 64"),
        ("[ONNXRuntimeError] : 3 : NO_SUCHFILE : file {path} is missing", "file model.onnx is missing"),
        ("[ONNXRuntimeError] : 1 : FAIL : broken\nStacktrace:\nframe one\nframe two", "broken"),
        ("[ONNXRuntimeError] : 1 : FAIL : Exception: /o/s.cc:235 a::B::B(const std::string&)::<lambda()> no such locale",
         "Exception: no such locale"),
        (("[ONNXRuntimeError] : 1 : FAIL : /o/s.cc:2 auto a::B<T>::f(a::C*) const::<lambda(std::pair<int, T>)> noexcept "
         "[with T = int] too (very) large"), "too (very) large"),
        ("[ONNXRuntimeError] : 1 : FAIL : while loading: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : no kernel",
         "while loading: no kernel"),
        ("", "ONNX Runtime gave no reason"),
    ],
)  # fmt: skip
def test_the_reason_stays_and_the_rest_goes(text, reason):
    """However long the signature is in front of it, the reason is told whole."""
    path = Path(tempfile.gettempdir()) / "crossover-load-1" / "model.onnx"
    assert reason_of(Exception(text.format(path=path) if "{" in text else text)) == reason


def test_a_long_text_keeps_both_ends():
    """A node with all its ports may stand in front of the reason."""
    told = reason_of(Exception(f"In Node Concat ({'input, ' * 500}) Error: too many"))
    assert told.startswith("In Node Concat") and told.endswith("Error: too many") and len(told) == 1000


def test_a_very_long_signature_hides_nothing():
    """The reason comes last and is never cut off."""
    signature = f"onnxruntime::F({', '.join(['const onnxruntime::Tensor&'] * 400)}) "
    assert reason_of(Exception(f"a/b.cc:1 {signature}the reason")) == "the reason"
