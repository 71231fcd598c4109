"""A model's files may be links, by ONNX Runtime's own rule; nothing that a model or its configuration names leads elsewhere."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from crossover.model_server import config, model
from crossover.model_server.model_error import ModelError
from crossover.model_server.runtime_options import RuntimeOptions

DATA = np.array([5], "f4").tobytes()


def model_bytes(location: str = "model.onnx_data") -> bytes:
    """y = x + w, with w in a file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    weights.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [value("x", TensorProto.FLOAT, ["n"])], [value("y", TensorProto.FLOAT, ["n"])], [weights],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made.SerializeToString()


def laid(root, files: dict[str, bytes | str]):
    """Files by path; a text is where a link leads."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(content) if isinstance(content, str) else path.write_bytes(content)


M = "m/1/model.onnx"
D = "m/1/model.onnx_data"
HUB = {
    "hub/blobs/aa": model_bytes(), "hub/blobs/bb": DATA,
    "hub/snapshots/r/model.onnx": "../../blobs/aa", "hub/snapshots/r/model.onnx_data": "../../blobs/bb",
}  # fmt: skip
LAYOUTS: dict[str, dict[str, bytes | str]] = {
    "plain files": {M: model_bytes(), D: DATA},
    "the Hugging Face cache, a snapshot as the version": {**HUB, "m/1": "../hub/snapshots/r"},
    "the Hugging Face cache, the model as the folder": {**HUB, "hub/snapshots/r/1": ".", "m": "hub/snapshots/r"},
    "the Hugging Face cache, links to the snapshot": {
        **HUB, M: "../../hub/snapshots/r/model.onnx", D: "../../hub/snapshots/r/model.onnx_data"
    },
    "the Hugging Face cache, the model file alone": {**HUB, M: "../../hub/snapshots/r/model.onnx"},
    "a folder below the blobs": {"b/aa": model_bytes(), "b/x/bb": DATA, M: "../../b/aa", D: "../../b/x/bb"},
    "DVC, one file": {"c/aa/1": model_bytes("own"), "m/1/own": DATA, M: "../../c/aa/1"},
    "DVC, data in another folder of the cache": {
        "c/aa/1": model_bytes(), "c/bb/2": DATA, M: "../../c/aa/1", D: "../../c/bb/2"
    },
    "git-annex, one file": {"g/X/k/k": model_bytes("own"), "m/1/own": DATA, M: "../../g/X/k/k"},
    "git-annex, data under another key": {
        "g/X/k/k": model_bytes(), "g/Y/l/l": DATA, M: "../../g/X/k/k", D: "../../g/Y/l/l"
    },
    "data that leads outside": {"secret/s": DATA, M: model_bytes(), D: "../../secret/s"},
    "data beside the file that the model resolves to": {"o/m": model_bytes("d"), "o/d": DATA, M: "../../o/m"},
    "data by a folder that leads outside": {"o/d": DATA, "m/1/sub": "../../o", M: model_bytes("sub/d")},
    "data above": {"m/d": DATA, M: model_bytes("../d")},
    "a circle": {M: model_bytes(), D: "model.onnx_data"},
    "a link to nothing": {M: model_bytes(), D: "missing"},
}  # fmt: skip


def opened(root, text: str = ""):
    return model.load("m", root / "m", 1, config.from_text(text, "m"), RuntimeOptions())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_onnxruntime_loads_is_loaded(tmp_path, layout):
    """For every layout of links the verdict is ONNX Runtime's own, and a refusal names no path of the host."""
    laid(tmp_path, LAYOUTS[layout])
    try:
        onnxruntime.InferenceSession(str(tmp_path / M))
    except Exception:
        with pytest.raises(ModelError, match="external data") as caught:
            opened(tmp_path)
        assert str(tmp_path) not in str(caught.value)
    else:
        opened(tmp_path)


def _warm_up(name: str) -> str:
    return (
        "model_warmup [ { name: 'w' inputs { key: 'x' value: { data_type: TYPE_FP32 dims: [ 1 ] "
        f"input_data_file: '{name}' }} }} }} ]"
    )


FIELDS = {
    "label_filename": (lambda name: f"output [ {{ name: 'y' label_filename: '{name}' }} ]", ""),
    "model_warmup": (_warm_up, "warmup/"),
    "default_model_filename": (lambda name: f"default_model_filename: '{name}'", "1/"),
}


@pytest.mark.parametrize("name", ["../secret/s", "../../secret/s", "{root}/secret/s", "link", "sub/s", ".", "circle"])
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_leads_outside(tmp_path, field, name):
    """Above the folder, absolute, by a link or a linked folder: no field reads it, and the sentence names no path of the host."""
    text, below = FIELDS[field]
    laid(tmp_path, {M: model_bytes(), D: DATA, "secret/s": DATA})
    folder = tmp_path / "m" / below
    folder.mkdir(exist_ok=True)
    for link, target in (
        ("link", tmp_path / "secret" / "s"),
        ("sub", tmp_path / "secret"),
        ("circle", folder / "circle"),
    ):
        (folder / link).symlink_to(target)
    with pytest.raises(ModelError) as caught:
        opened(tmp_path, text(name.format(root=tmp_path)))
    assert str(tmp_path / "m") not in str(caught.value)


@pytest.mark.parametrize("field", ["label_filename", "model_warmup"])
def test_links_into_the_blobs_do(tmp_path, field):
    """Beside a model whose file is a link into a folder of blobs, every other file may be one too."""
    text, below = FIELDS[field]
    laid(
        tmp_path,
        {**HUB, M: "../../hub/blobs/aa", D: "../../hub/blobs/bb", f"m/{below}f": str(tmp_path / "hub/blobs/bb")},
    )
    if field == "label_filename":
        (tmp_path / "hub/blobs/cc").write_text("a\nb\n")
        (tmp_path / "m" / "f").unlink()
        (tmp_path / "m" / "f").symlink_to(tmp_path / "hub/blobs/cc")
    loaded = opened(tmp_path, text("f"))
    assert loaded.labels == ({"y": ["a", "b"]} if field == "label_filename" else {})
