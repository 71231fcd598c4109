"""The infer route: JSON and binary both ways."""

import io
import math
import struct

import numpy as np
import pytest

from crossover.endpoints.rest import RestOptions, answering

X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2]}
RAW = struct.pack("<2f", 1.5, -2)
HEAD = "Inference-Header-Content-Length"


def head_and_tail(answer):
    import json

    length = int(answer.headers[HEAD])
    return json.loads(answer.body[:length]), answer.body[length:]


async def test_json_reply_has_the_keys_that_clients_read_and_no_others(call):
    """A reply holds model_name, model_version, the caller's id and outputs with flat data; nothing is there unasked."""
    answer = await call.infer(X, id="a-1")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert HEAD not in answer.headers
    assert answer.json == {
        "model_name": "echo", "model_version": "7", "id": "a-1",
        "outputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}],
    }  # fmt: skip


async def test_body_is_read_whatever_its_content_type_says(call):
    """tritonclient sends no content type at all, or a wrong one."""
    for kind in (None, "application/octet-stream", "text/plain", "application/json; charset=utf-8"):
        answer = await call.infer(X, headers={"Content-Type": kind} if kind else None)
        assert answer.status == 200


async def test_an_empty_id_and_unknown_keys_are_accepted(call):
    """The C++ client always sends an empty id, kserve always sends model_name; null stands for absent."""
    answer = await call.infer(X, id="", model_name="other", outputs=None, parameters=None, anything={"deep": [1]})
    assert answer.status == 200
    assert "id" not in answer.json
    assert call.inference.requests[0].model_name == "echo"


async def test_the_version_of_the_path_reaches_the_model(call):
    """/versions/{v} selects the version; the reply tells the one that ran."""
    answer = await call("POST", "/v2/models/echo/versions/3/infer", {"inputs": [X]})
    assert answer.json["model_version"] == "3"


async def test_a_quoted_name_reaches_the_model(call):
    """A model whose name holds a slash, a space, a colon or letters beyond ASCII is reached when it is quoted."""
    answer = await call.infer({**X, "shape": [2]}, model="odd%20name%2F%C3%BC%3A1")
    assert answer.json["model_name"] == "odd name/ü:1"


@pytest.mark.parametrize("length", [None, "exact"])
async def test_the_length_header_may_cover_the_whole_body(call, length):
    """The C++ client always sends the header, also when all of the body is JSON."""
    import json

    body = json.dumps({"inputs": [X]}).encode()
    answer = await call("POST", "/v2/models/echo/infer", body, {HEAD: str(len(body))} if length else None)
    assert answer.status == 200


async def test_binary_and_json_tensors_may_be_mixed_both_ways(call):
    """Binary tensors follow the JSON in the order of the JSON; each output comes as its own parameter says."""
    import json

    document = {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
            {"name": "b", "datatype": "INT64", "shape": [1], "data": [2**53 + 1]},
            {"name": "c", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 11}},
        ],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "b", "parameters": {"binary_data": False}}, {"name": "a"}, {"name": "c"}],
    }
    text, tail = json.dumps(document).encode(), RAW + b"\1\0\0\0\xff\2\0\0\0\xc3\xa9"
    answer = await call("POST", "/v2/models/two/infer", text + tail, {HEAD: str(len(text))})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    head, raw = head_and_tail(answer)
    assert [("data" in item, item.get("parameters")) for item in head["outputs"]] == [
        (False, {"binary_data_size": 8}), (True, None), (False, {"binary_data_size": 11}),
    ]  # fmt: skip
    assert head["outputs"][1]["data"] == [2**53 + 1]
    assert raw == tail
    seen = call.inference.requests[0]
    assert [output.name for output in seen.outputs] == ["b", "a", "c"]
    assert seen.parameters == {}
    assert seen.inputs[2].array.tolist() == [b"\xff", "é".encode()]


async def test_a_named_output_overrides_the_binary_default(call):
    """binary_data of an output goes before binary_data_output of the request."""
    answer = await call.infer(X, outputs=[{"name": "x", "parameters": {"binary_data": True}}])
    head, raw = head_and_tail(answer)
    assert raw == RAW
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 8}


async def test_an_empty_binary_output_needs_no_length_header(call):
    """A reply without binary bytes is plain JSON, as Triton sends it."""
    empty = {"name": "x", "datatype": "FP32", "shape": [0, 2], "data": None, "parameters": {"binary_data_size": 0}}
    answer = await call.infer(empty, parameters={"binary_data_output": True})
    assert answer.status == 200
    assert HEAD not in answer.headers
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["outputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [0, 2], "parameters": {"binary_data_size": 0}}
    ]


async def test_a_raw_binary_request_is_the_only_input(call):
    """Header value 0: the body is the input, its variable dimension follows from the size, outputs are binary."""
    answer = await call("POST", "/v2/models/echo/infer", RAW * 3, {HEAD: "0"})
    head, raw = head_and_tail(answer)
    assert head["outputs"][0]["shape"] == [3, 2]
    assert raw == RAW * 3
    answer = await call("POST", "/v2/models/one/infer", b"any bytes \xff", {HEAD: "0"})
    assert call.inference.requests[-1].inputs[0].array.tolist() == [b"any bytes \xff"]


@pytest.mark.parametrize(("model", "body"), [("two", RAW), ("echo", RAW[:-1]), ("matrix", RAW)])
async def test_a_raw_binary_request_that_does_not_say_its_shape_is_refused(call, model, body):
    """It needs a model with one input and at most one variable dimension, and whole rows."""
    answer = await call("POST", f"/v2/models/{model}/infer", body, {HEAD: "0"})
    assert (answer.status, answer.json["code"]) == (400, "INVALID_ARGUMENT")


async def test_non_finite_numbers_go_in_and_out(call):
    """In: the literals and null. Out: null for NaN, Triton's literals for the infinities."""
    text = '{"inputs":[{"name":"x","datatype":"FP32","shape":[4],"data":[NaN,null,Infinity,-Infinity]}]}'
    answer = await call("POST", "/v2/models/echo/infer", text=text)
    assert answer.status == 200
    np.testing.assert_array_equal(call.inference.requests[0].inputs[0].array, [np.nan, np.nan, np.inf, -np.inf])
    assert b'"data":[null,null,Infinity,-Infinity]' in answer.body


async def test_large_binary_replies_arrive_whole(call):
    """Parts that are not copied together are the same bytes on the wire."""
    import json

    raw = np.arange(500_000, dtype="<f4").tobytes()
    item = {"name": "x", "datatype": "FP32", "shape": [500_000], "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    answer = await call("POST", "/v2/models/echo/infer", io.BytesIO(text + raw), {HEAD: str(len(text))})
    assert head_and_tail(answer)[1] == raw


async def test_the_upstream_is_named_in_every_answer(call_with):
    """The name that `choose` gives comes back, also with an error."""
    call = await call_with(upstream="grpc")
    assert (await call.infer(X)).headers["Inference-Upstream"] == "grpc"
    assert (await call.infer(X, model="nope")).headers["Inference-Upstream"] == "grpc"


async def test_server_timing_is_sent_only_where_it_is_switched_on(call, call_with):
    """`timing` adds Server-Timing in milliseconds to infer replies, and to nothing else."""
    timed = await call_with(RestOptions(timing=True))
    assert "decode;dur=" in (await timed.infer(X)).headers["Server-Timing"]
    assert "Server-Timing" not in (await timed("GET", "/v2")).headers
    assert "Server-Timing" not in (await call.infer(X)).headers


async def test_timing_is_of_those_who_ask_and_of_samples(call_with, monkeypatch):
    """Of requests that do not ask few are timed, however many come; who asks always is, and the metrics tell of all timed."""
    monkeypatch.setattr(answering, "_SAMPLE_SECONDS", math.inf)
    call = await call_with(RestOptions(timing=True))
    asking = {"Inference-Timeline": "1"}
    answers = [await call.infer(X, headers=headers) for headers in ({}, {}, asking, {}, asking)]
    assert ["Server-Timing" in answer.headers for answer in answers] == [True, False, True, False, True]
    assert [context.timeline is not None for context in call.inference.contexts] == [True, False, True, False, True]
    rendered = call.service.observer.render().decode()
    assert "crossover_timed_requests_total 3.0" in rendered
    assert 'crossover_timed_stage_seconds_total{stage="compute"}' in rendered


async def test_stamps_are_sent_back_on_request(call):
    """`Inference-Timeline: 1` gives the stations that the request has passed, in order."""
    answer = await call.infer(X, headers={"Inference-Timeline": "1"})
    stamps = [item.split("=") for item in answer.headers["Inference-Timeline"].split(",")]
    assert [name for name, _ in stamps] == ["received", "decoded", "started", "finished", "encoded"]
    assert [int(stamp) for _, stamp in stamps] == sorted(int(stamp) for _, stamp in stamps)


async def test_trace_headers_travel_on(call):
    """traceparent, tracestate and x-request-id reach the inference; other headers do not."""
    await call.infer(X, headers={"Traceparent": "00-1-2-01", "X-Request-Id": "r", "Authorization": "secret"})
    assert call.inference.contexts[0].headers == {"traceparent": "00-1-2-01", "x-request-id": "r"}
