"""The exchange of a prediction is what went over the wire, byte for byte, whatever the upstream and however it ended."""

from __future__ import annotations

import base64
import json
import time

import numpy as np
import pytest

GRPC = ("grpc", "grpc-typed", "grpc-stream", "grpc-coalesced")
REST = ("rest", "rest-binary", "rest-coalesced")


@pytest.fixture
def order(samples):
    values = samples[0]["inputs"]
    return {"model": "digits", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 64], "data": values}]}


@pytest.fixture
def exchanged(gateway):
    """Ask for a prediction and read what was said: the prediction, and the exchange's upstream half."""

    def run(order, upstream, **headers):
        made = gateway("POST", "/api/predictions", order, Inference_Upstream=upstream, **headers)
        assert made.status in (201, 202), made.body
        place = made.json()["links"]["self"]
        until = time.monotonic() + 20
        while (now := gateway("GET", place).json())["state"] in ("queued", "running") and time.monotonic() < until:
            time.sleep(0.05)
        return now, gateway("GET", f"{place}/exchange").json()["upstream"]

    return run


def values(order):
    return np.array(order["inputs"][0]["data"], np.float32)


@pytest.mark.parametrize("upstream", GRPC)
def test_grpc_messages_are_the_real_ones(exchanged, order, upstream):
    """The message holds the caller's numbers and has the bytes that were counted; status and stamps are in the trailers."""
    made, said = exchanged(order, upstream, X_Request_Id="request-7")
    asked, told = said["request"], said["response"]
    assert (said["name"], said["kind"]) == (upstream, "grpc")
    assert asked["message_bytes"] == made["message_bytes"]["request"]
    assert told["message_bytes"] == made["message_bytes"]["response"]
    message = asked["message"]
    assert message["model_name"] == "digits"
    sent = (
        message["inputs"][0]["contents"]["fp32_contents"]
        if upstream == "grpc-typed"
        else np.frombuffer(base64.b64decode(message["raw_input_contents"][0]), np.float32).tolist()
    )
    assert sent == values(order).tolist()
    assert told["grpc_status"] == "OK"
    if upstream == "grpc-stream":
        assert asked["path"].endswith("/ModelStreamInfer")
        assert message["parameters"]["crossover_header_x-request-id"] == {"string_param": "request-7"}
        assert told["message_type"] == "inference.ModelStreamInferResponse"
        assert (told["trailers"], bool(told["left_out"])) == ([], True)
    else:
        assert asked["path"] == "/inference.GRPCInferenceService/ModelInfer"
        assert ["x-request-id", "request-7"] in asked["metadata"]
        assert ["grpc-status", "0"] in told["trailers"]
        assert "inference-timeline" in dict(told["trailers"])


@pytest.mark.parametrize("upstream", REST)
def test_rest_bodies_are_the_real_ones(exchanged, order, upstream):
    """Every header that was sent is there, the lengths fit, and the body holds the caller's numbers."""
    made, said = exchanged(order, upstream, X_Request_Id="request-7")
    asked, told = said["request"], said["response"]
    headers, back = dict(asked["headers"]), dict(told["headers"])
    assert (asked["method"], asked["path"], told["http_status"]) == ("POST", "/v2/models/digits/infer", 200)
    assert int(headers["content-length"]) == asked["message_bytes"] == made["message_bytes"]["request"]
    assert int(back["content-length"]) == told["message_bytes"] == made["message_bytes"]["response"]
    assert headers["x-request-id"] == "request-7"
    document = json.loads(asked["body"])
    if upstream == "rest":
        assert document["inputs"][0]["data"] == values(order).tolist()
    else:
        assert int(headers["inference-header-content-length"]) == len(asked["body"])
        assert bytes.fromhex(asked["binary_hex"]) == values(order).tobytes()
    assert json.loads(told["body"])["model_name"] == "digits"


def test_without_a_wire_there_is_nothing_to_show(exchanged, order):
    """The in-process engine is called; no message is made."""
    _, said = exchanged(order, "inprocess")
    assert said["kind"] == "process"
    assert "message" not in said["request"]


@pytest.mark.parametrize("upstream", ["grpc", "grpc-stream", "rest"])
def test_a_refused_call_shows_the_refusal(exchanged, order, upstream):
    """Work that failed for good keeps what was sent and how the model server said no."""
    order["inputs"][0] |= {"shape": [1, 63], "data": order["inputs"][0]["data"][:63]}
    made, said = exchanged(order, upstream, Prefer="respond-async")
    assert made["state"] == "failed"
    told = said["response"]
    if upstream == "grpc":
        assert told["grpc_status"] == "INVALID_ARGUMENT"
        assert "[-1, 64]" in dict(told["trailers"])["grpc-message"]
    elif upstream == "grpc-stream":
        assert "[-1, 64]" in told["message"]["error_message"]
    else:
        assert told["http_status"] == 400
        assert "[-1, 64]" in json.loads(told["body"])["error"]


def test_long_messages_are_cut(exchanged, order):
    """A message of many numbers shows what its tensors are, and says that it was cut."""
    rows = 1000
    order["inputs"][0] |= {"shape": [rows, 64], "data": order["inputs"][0]["data"] * rows}
    for upstream in ("grpc", "rest", "rest-binary"):
        _, said = exchanged(order, upstream)
        asked = said["request"]
        assert asked["message_bytes"] > rows * 64
        assert len(json.dumps(asked)) < 60_000
        assert asked["message_cut"] if upstream == "grpc" else asked["body_cut"]
