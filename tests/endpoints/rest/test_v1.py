"""KServe V1 `:predict`."""

import numpy as np
import pytest

from crossover.endpoints.rest import v1
from crossover.protocol.codecs.json import unread
from crossover.protocol.codecs.json.text import loads_object
from crossover.protocol.tensors import Tensor

ONE = "/v1/models/echo:predict"


async def test_rows_of_the_only_input(call):
    """instances become one tensor of their nested shape; predictions has one value per row."""
    answer = await call("POST", ONE, {"instances": [[1, 2], [3, 4.5]]})
    assert answer.json == {"predictions": [[1.0, 2.0], [3.0, 4.5]]}
    sent = call.inference.requests[0].inputs[0]
    assert (sent.name, sent.datatype.name, sent.shape) == ("x", "FP32", (2, 2))


async def test_rows_with_named_inputs(call):
    """Rows may be objects with a value per input; predictions are objects when there are several outputs."""
    rows = [{"a": 1.5, "b": 2**53 + 1}, {"a": 2, "b": -1}]
    answer = await call("POST", "/v1/models/two:predict", {"instances": rows})
    assert answer.json == {"predictions": [{"a": 1.5, "b": 2**53 + 1}, {"a": 2.0, "b": -1}]}


async def test_columns(call):
    """inputs are columns; the answer is outputs, bare when there is one."""
    answer = await call("POST", "/v1/models/two:predict", {"inputs": {"a": [1, 2], "b": [3]}})
    assert answer.json == {"outputs": {"a": [1.0, 2.0], "b": [3]}}
    assert (await call("POST", ONE, {"inputs": [[1, 2]]})).json == {"outputs": [[1.0, 2.0]]}


async def test_bytes_are_text_or_base64(call):
    """BYTES go in as text or {"b64": ...}; what is not UTF-8 comes back as base64."""
    answer = await call("POST", "/v1/models/one:predict", {"instances": ["é", {"b64": "/w=="}]})
    assert call.inference.requests[0].inputs[0].array.tolist() == ["é".encode(), b"\xff"]
    assert answer.json == {"predictions": ["é", {"b64": "/w=="}]}


async def test_non_finite_values(call):
    """As in OIP replies: NaN is null, infinities are literals."""
    call.inference.outputs = [Tensor.from_array("y", np.array([[np.nan], [np.inf], [-np.inf], [0.1]], np.float32))]
    answer = await call("POST", ONE, {"instances": [[1, 2]] * 4})
    assert answer.body.startswith(b'{"predictions":[[null],[Infinity],[-Infinity],[0.1')


async def test_an_output_without_rows_needs_columns(call):
    """An output whose first dimension is not the number of instances cannot be cut into predictions."""
    call.inference.outputs = [Tensor.from_array("y", np.zeros((), np.float32))]
    assert (await call("POST", ONE, {"instances": [[1, 2]]})).status == 400
    assert (await call("POST", ONE, {"inputs": [[1, 2]]})).json == {"outputs": 0.0}


@pytest.mark.parametrize(
    ("model", "body"),
    [("echo", {}), ("echo", []), ("echo", {"instances": []}), ("echo", {"instances": {}}), ("echo", {"instances": "x"}),
     ("echo", {"instances": [[1], [2, 3]]}), ("echo", {"instances": [[1], 2]}), ("echo", {"instances": [[True]]}),
     ("echo", {"instances": [{"nope": 1}]}), ("two", {"instances": [[1]]}),
      ("two", {"instances": [{"a": 1}, {"b": 1}]}),
     ("two", {"instances": [{"a": 1, "b": 1}, 5]}), ("two", {"inputs": [1]}), ("two", {"inputs": {"nope": [1]}}),
     ("one", {"instances": [5]}), ("one", {"instances": [{"b64": "%"}]}), ("one", {"instances": [{"b64": 5}]}),
     ("one", {"instances": [["a"], ["b", "c"]]}), ("one", {"instances": [["a"], "b"]})],
)  # fmt: skip
async def test_malformed_bodies_are_refused(call, model, body):
    """400 and one sentence, as on every other route."""
    answer = await call("POST", f"/v1/models/{model}:predict", body)
    assert (answer.status, answer.json["code"]) == (400, "INVALID_ARGUMENT")


async def test_an_unknown_model_is_404(call):
    """V1 has the same errors."""
    assert (await call("POST", "/v1/models/none:predict", {"instances": [1]})).status == 404


NUMBERS = [[float(row), 0.125, -1e30] for row in range(20_000)]


@pytest.mark.parametrize(
    ("model", "body", "name", "shape"),
    [("echo", {"instances": NUMBERS}, "x", (20_000, 3)), ("echo", {"inputs": NUMBERS}, "x", (20_000, 3)),
     ("echo", {"signature_name": "s", "inputs": {"x": NUMBERS}}, "x", (20_000, 3)),
     ("one", {"instances": [["é\n", "b"]] * 20_000}, "x", (20_000, 2)),
     ("two", {"instances": [{"a": NUMBERS[:600], "b": 1}] * 20}, "a", (20, 600, 3))],
)  # fmt: skip
async def test_elements_of_a_large_body_become_no_objects(call, monkeypatch, model, body, name, shape):
    """Numbers and text are read without the interpreter's lock, so that others are served meanwhile; the meaning is the same."""
    read = []
    for module in (v1, unread):
        monkeypatch.setattr(module, "loads_object", lambda text, *_: read.append(len(text)) or loads_object(text))
    await call("POST", f"/v1/models/{model}:predict", body)
    tensor = next(item for item in call.inference.requests[0].inputs if item.name == name)
    assert max(read) < 2000
    assert tensor.shape == shape
    monkeypatch.setattr(v1, "is_long", lambda _: False)
    monkeypatch.setattr(unread, "is_long", lambda _: False)
    await call("POST", f"/v1/models/{model}:predict", body)
    assert max(read) > 100_000
    again = next(item for item in call.inference.requests[1].inputs if item.name == name)
    assert tensor.array.tolist() == again.array.tolist()


@pytest.mark.parametrize(
    "body",
    [{"inputs": [*NUMBERS, [1.0, 2.0]]}, {"inputs": [*NUMBERS, [1.0, 2.0, "three"]]}, {"inputs": [*NUMBERS, {"a": [1.0] * 9}]},
     {"instances": [{"x": NUMBERS[:5000]}, {"x": 5}]}, {"instances": [{"x": NUMBERS[:5000]}, {"x": [[1.0] * 9]}]},
     {"instances": [{"x": NUMBERS[:5000]}, {"x": {"b64": [1.0] * 9}}]},
     {"instances": [{"x": [1.0] * 100_000}] + [{"x": [1.0] * 9}] * 20}],
)  # fmt: skip
async def test_a_large_body_is_refused_as_a_small_one(call, monkeypatch, body):
    """The same sentence, whichever way the elements were read."""
    refused = await call("POST", ONE, body)
    monkeypatch.setattr(v1, "is_long", lambda _: False)
    monkeypatch.setattr(unread, "is_long", lambda _: False)
    assert refused.status == 400
    assert refused.json == (await call("POST", ONE, body)).json
