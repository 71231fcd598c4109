"""`model_warmup`: a version is READY after its warm-up requests have run, and says which one failed."""

from __future__ import annotations

import struct

import pytest

from crossover.model_server import config
from crossover.protocol.errors import InferenceError
from tests.graphs import echo_graph, save
from tests.model_server.conftest import serving

CONFIG = """
max_batch_size: %d
model_warmup [ { name: "w" batch_size: %d count: %d inputs { key: "x" value: { data_type: TYPE_%s dims: [ %s ] %s } } } ]
"""


def repository(tmp_path, batch, size, count, kind, dims, data, datatype=None):
    save(tmp_path, "m", echo_graph(datatype or {"STRING": "BYTES"}.get(kind, kind), ["n", "m"]))
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG % (batch, size, count, kind, dims, data))
    return tmp_path


@pytest.mark.parametrize("kind", ["FP32", "FP16", "BF16", "INT8", "UINT64", "BOOL", "STRING"])
@pytest.mark.parametrize("data", ["zero_data: true", "random_data: true"])
async def test_every_datatype_can_be_warmed_up(tmp_path, kind, data):
    """Zeros and random values of each datatype run, as often as `count` says, and count as no request."""
    async with serving(repository(tmp_path, 8, 2, 3, kind, "4", data)) as engine:
        await engine.repository.load("m", {})
        assert engine.repository.ready("m", "")
        assert engine.repository.resolve("m", "").statistics.success.count == 0


async def test_a_file_of_values(tmp_path):
    """`input_data_file` is read from the folder `warmup`, in the protocol's raw form."""
    path = repository(tmp_path, 8, 1, 0, "STRING", "1", 'input_data_file: "names"')
    (path / "m" / "warmup").mkdir()
    (path / "m" / "warmup" / "names").write_bytes(struct.pack("<I", 2) + b"ab")
    async with serving(path) as engine:
        await engine.repository.load("m", {})
        assert engine.repository.ready("m", "")


async def test_no_rows_is_no_warm_up(tmp_path):
    """A warm-up whose batch_size is 0 is passed over, as Triton does, and named; the model serves."""
    path = repository(tmp_path, 8, 0, 1, "FP32", "-1", 'input_data_file: "none"')
    async with serving(path) as engine:
        await engine.repository.load("m", {})
        assert engine.repository.ready("m", "")
    _, named = config.read(path / "m")
    assert named == ["model_warmup 'w' (batch_size is 0, so it does not run)"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((8, 9, 1, "FP32", "4", "zero_data: true"), "batch_size to 9; it takes 1 to 8"),
        ((8, 1, 1, "FP32", "-1", "zero_data: true"), "a warm-up needs fixed ones"),
        ((8, 1, 1, "FP32", "4, 4", "zero_data: true"), "model_warmup 'w' failed: unexpected shape"),
        ((8, 1, 1, "FP64", "4", "zero_data: true", "FP32"), "model_warmup 'w' failed"),
        ((8, 1, 1, "FP32", "4", 'input_data_file: "none"'), "is not in the model's folder 'warmup'"),
        ((8, 1, 1, "FP32", "4", 'input_data_file: "../config.pbtxt"'), "leads out of the folder"),
        ((8, 1, 1, "FP32", "1000000, 1000000", "zero_data: true"), "has more than"),
        ((8, 1, 100000, "FP32", "4", "zero_data: true"), "it takes 10000 at most"),
    ],
)
async def test_a_warm_up_that_cannot_run_says_why(tmp_path, given, said):
    """The model is UNAVAILABLE, and the reason names the warm-up."""
    async with serving(repository(tmp_path, *given)) as engine:
        with pytest.raises(InferenceError, match="model_warmup 'w'") as caught:
            await engine.repository.load("m", {})
        assert said in caught.value.message
