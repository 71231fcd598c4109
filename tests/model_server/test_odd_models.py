"""Models and files of odd kinds are served, or refused in one sentence that names what is odd."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from crossover.model_server.entry import Entry
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from tests.graphs import echo_graph, save
from tests.model_server.conftest import serving

BEYOND = [
    "COMPLEX64", "COMPLEX128", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0", "FLOAT4E2M1",
    "INT4", "UINT4", "INT2", "UINT2",
]  # fmt: skip


def casting(repository, name: str, kind: str, what: str) -> None:
    """y = x as another datatype; `what` of the two is `kind`."""
    kinds = {"input": TensorProto.FLOAT, "output": TensorProto.FLOAT, what: TensorProto.DataType.Value(kind)}
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=kinds["output"])],
        "casting",
        [helper.make_tensor_value_info("x", kinds["input"], ["n"])],
        [helper.make_tensor_value_info("y", kinds["output"], ["n"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    path = repository / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())


async def test_datatypes_beyond_the_protocol_are_named_with_their_port(tmp_path):
    """FP8, FP4, INT4 and INT2 are refused by the input's or output's name, whether or not ONNX Runtime could run them."""
    for kind in BEYOND:
        for what in ("input", "output"):
            casting(tmp_path, f"{what}-{kind}", kind, what)
    async with serving(tmp_path) as engine:
        for name in list(engine.repository.entries):
            what, kind = name.split("-")
            port = {"input": "x", "output": "y"}[what]
            with pytest.raises(
                InferenceError, match=f"version 1: the {what} '{port}' is {kind}, which the protocol has no"
            ):
                await engine.repository.load(name, {})


def text_graph(*texts: bytes) -> onnx.GraphProto:
    """y = the texts at x."""
    constant = TensorProto(name="c", data_type=TensorProto.STRING, dims=[len(texts)], string_data=texts)
    return helper.make_graph(
        [helper.make_node("Gather", ["c", "x"], ["y"])],
        "text",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["n"])],
        [constant],
    )


async def asked(engine, name, kind, values):
    tensor = Tensor.from_array("x", np.array(values, object if kind == "BYTES" else "i8"))
    response = await engine.infer(InferRequest(name, [tensor]), CallContext())
    return response.outputs[0].array.tolist()


async def test_bytes_are_text_or_refused(tmp_path):
    """Bytes go through as they are when they are UTF-8, with NUL in them too; others are refused by the tensor's name."""
    save(tmp_path, "echo", echo_graph("BYTES", ["n"]))
    save(tmp_path, "made", text_graph(b"a\0b", b"\xff\xfe", "ä".encode(), b"b'x'"))
    async with serving(tmp_path) as engine:
        for name in ("echo", "made"):
            await engine.repository.load(name, {})
        for value in (b"", b"a\0b", b"\0", "ä\U0001f600".encode(), b"b'x'", b"\\xff"):
            assert await asked(engine, "echo", "BYTES", [value]) == [value]
        for value in (b"\xff", b"a\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80"):
            with pytest.raises(InferenceError, match="input 'x' holds bytes that are not UTF-8"):
                await asked(engine, "echo", "BYTES", [value])
        assert await asked(engine, "made", "INT64", [0, 2, 3]) == [b"a\0b", "ä".encode(), b"b'x'"]
        with pytest.raises(InferenceError, match="output 'y' holds bytes that are not UTF-8") as caught:
            await asked(engine, "made", "INT64", [1])
        assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("number", ["9223372036854775807", "9223372036854775808", "9" * 30])
async def test_versions_are_positive_numbers_of_64_bits(tmp_path, number):
    """The highest of them serves; a folder beyond is no version, as in Triton, and asking for one is NOT_FOUND."""
    save(tmp_path, "m", echo_graph("INT64", ["n"]))
    (tmp_path / "m" / "1").rename(tmp_path / "m" / number)
    (tmp_path / "m" / "1").symlink_to(number)
    async with serving(tmp_path) as engine:
        await engine.repository.load("m", {})
        expected = number if int(number) < 1 << 63 else "1"
        assert engine.repository.resolve("m", "").version == expected
        assert engine.repository.resolve("m", f"000{expected}").version == expected
        if expected == "1":
            with pytest.raises(InferenceError) as caught:
                engine.repository.resolve("m", number)
            assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("version", ["0", "00", "99999999999999999999", "9" * 5000])
def test_a_version_that_no_folder_can_have_is_unknown(tmp_path, version):
    """Not malformed: NOT_FOUND."""
    with pytest.raises(InferenceError) as caught:
        Entry("m", tmp_path).resolve(version)
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("config", "file"),
    [
        (None, "config.pbtxt"),
        ("output { name: 'y' label_filename: 'labels' }", "labels"),
        ("model_warmup { name: 'w' inputs { key: 'x' value { data_type: TYPE_INT64 dims: 1 input_data_file: 'f' } } }", "warmup/f"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "device"])
async def test_only_regular_files_are_read(tmp_path, config, file, kind):
    """A pipe keeps nobody waiting, and a device without end fills no memory."""
    save(tmp_path, "m", echo_graph("INT64", ["n"]))
    if config is not None:
        (tmp_path / "m" / "config.pbtxt").write_text(config)
    path = tmp_path / "m" / file
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    async with serving(tmp_path) as engine:
        with pytest.raises(InferenceError, match=r"is not a file|leads out"):
            await engine.repository.load("m", {})
