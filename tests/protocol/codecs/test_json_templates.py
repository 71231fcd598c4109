"""A template that is known is a shortcut and nothing else: every text means what it means without it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.protocol.bounded_cache import MOST_ENTRIES
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.errors import InferenceError
from crossover.protocol.native import jsontensors

pytestmark = pytest.mark.skipif(jsontensors is None, reason="the native reader is not built here")


@st.composite
def texts(draw):
    """Requests alike but for little: long and short data, placeholders' look-alikes, ids, parameters, bad numbers."""
    tensors = []
    for name in "xy"[: draw(st.integers(1, 2))]:
        count = draw(st.sampled_from([1, 1, 120]))
        data = draw(st.sampled_from([[[0]], [[1]], list(range(count)), [[v] for v in range(count)], [1e39] * count]))
        kind = draw(st.sampled_from(["FP32", "INT64", "UINT8"]))
        tensors.append({"name": name, "datatype": kind, "shape": [count, 1], "data": data})
    document = {"inputs": tensors}
    document.update(
        draw(st.sampled_from([{}, {}, {"id": "7"}, {"parameters": {"p": 1}}, {"outputs": [{"name": "z"}]}]))
    )
    return json.dumps(document).encode()


def meaning(text, decode):
    try:
        request, form = decode(text, "m")
    except InferenceError as error:
        return error.message
    tensors = [(t.name, t.datatype.name, t.shape, bytes(t.raw)) for t in request.inputs]
    return tensors, request.id, request.parameters, [o.name for o in request.outputs], form.default, form.named


def without_the_reader(text, model):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_codec, "split", lambda text: (text, None))
        return json_codec.decode_request(text, model)


@given(st.lists(texts(), min_size=1, max_size=5))
def test_every_text_means_the_same(seen):
    for text in [*seen, *seen]:
        assert meaning(text, json_codec.decode_request) == meaning(text, without_the_reader)


def test_what_a_caller_changes_stays_its_own():
    """Parameters and outputs that one reader takes out are there for the next one."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [200], "data": list(range(200))}
    text = json.dumps({"inputs": [tensor], "parameters": {"p": 1}, "outputs": [{"name": "y"}]}).encode()
    for _ in range(3):
        request, _ = json_codec.decode_request(text, "m")
        assert request.parameters.pop("p") == 1
        assert request.outputs.pop().name == "y"
        request.inputs[0].array[:] = np.nan


def test_what_is_kept_is_bounded():
    for size in range(300, 300 + 2 * MOST_ENTRIES):
        tensor = {"name": f"x{size}", "datatype": "FP32", "shape": [200], "data": list(range(200))}
        json_codec.decode_request(json.dumps({"inputs": [tensor]}).encode(), "m")
    assert len(json_codec._TEMPLATES) <= MOST_ENTRIES
