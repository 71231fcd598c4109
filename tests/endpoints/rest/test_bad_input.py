"""Bad input is answered 400 with one sentence, never with a 500, and the next request on the connection works."""

import json

import pytest

from crossover.protocol.errors import Code

GOOD = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
HEAD = "Inference-Header-Content-Length"


def tensor(datatype="FP32", shape=(2,), **beside):
    return {"name": "x", "datatype": datatype, "shape": list(shape), **beside}


BODIES = {
    "empty": "",
    "not JSON": "{",
    "an array": "[]",
    "a number": "5",
    "trailing text": json.dumps({"inputs": [GOOD]}) + "x",
    "two values": json.dumps({"inputs": [GOOD]}) * 2,
    "no inputs": "{}",
    "inputs null": '{"inputs":null}',
    "inputs an object": '{"inputs":{}}',
    "input a string": '{"inputs":["x"]}',
    "invalid UTF-8": b'{"inputs":[],"id":"\xff"}',
    "invalid UTF-8 beside NaN": b'{"inputs":[],"id":"\xff NaN"}',
    "lone surrogate": '{"inputs":[],"id":"\\ud800"}',
    "lone surrogate beside NaN": '{"inputs":[],"id":"\\ud800","NaN":1}',
    "surrogate bytes": b'{"inputs":[],"id":"\xed\xa0\x80"}',
    "byte order mark": b'\xef\xbb\xbf{"inputs":[]}',
    "UTF-16": '{"inputs":[],"a":NaN}'.encode("utf-16"),
    "NaN spelt otherwise": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[nan]}]}',
    "number beyond 64-bit floats": '{"inputs":[{"name":"x","datatype":"FP64","shape":[2],"data":[1e999,NaN]}]}',
    "5000 digits": '{"inputs":[{"name":"x","datatype":"FP64","shape":[2],"data":[%s,NaN]}]}' % ("9" * 5000),
    "id a number": json.dumps({"id": 5, "inputs": [GOOD]}),
    "parameters an array": json.dumps({"parameters": [], "inputs": [GOOD]}),
    "parameter null": json.dumps({"parameters": {"a": None}, "inputs": [GOOD]}),
    "parameter nested": json.dumps({"parameters": {"a": {"b": 1}}, "inputs": [GOOD]}),
    "timeout negative": json.dumps({"parameters": {"timeout": -1}, "inputs": [GOOD]}),
    "timeout text": json.dumps({"parameters": {"timeout": "1"}, "inputs": [GOOD]}),
    "binary_data_output text": json.dumps({"parameters": {"binary_data_output": "yes"}, "inputs": [GOOD]}),
    "outputs an object": json.dumps({"inputs": [GOOD], "outputs": {}}),
    "output without name": json.dumps({"inputs": [GOOD], "outputs": [{}]}),
    "output a string": json.dumps({"inputs": [GOOD], "outputs": ["x"]}),
    "binary_data a number": json.dumps(
        {"inputs": [GOOD], "outputs": [{"name": "x", "parameters": {"binary_data": 1}}]}
    ),
    "shared memory of no name": json.dumps(
        {"inputs": [GOOD], "outputs": [{"name": "x", "parameters": {"shared_memory_region": 1}}]}
    ),
    "deep": "[" * 90_000 + "]" * 90_000,
    "deep beside NaN": '{"a":NaN,"b":' + "[" * 90_000 + "]" * 90_000 + "}",
    "deep in an unknown key": '{"inputs":[],"z":' + "[" * 200 + "]" * 200 + "}",
    "deep in data": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":'
    + "[" * 900
    + "1"
    + "]" * 900
    + "}]}",
}
TENSORS = {
    "no name": {"datatype": "FP32", "shape": [1], "data": [1]},
    "name a number": {"name": 1, "datatype": "FP32", "shape": [1], "data": [1]},
    "no datatype": {"name": "x", "shape": [1], "data": [1]},
    "no shape": {"name": "x", "datatype": "FP32", "data": [1]},
    "unknown datatype": tensor("FLOAT", (1,), data=[1]),
    "lower-case datatype": tensor("fp32", (1,), data=[1]),
    "shape a number": {"name": "x", "datatype": "FP32", "shape": 1, "data": [1]},
    "dimension -1": tensor(shape=(-1,), data=[1]),
    "dimension -5 behind 0": tensor(shape=(0, -5), data=[]),
    "dimension huge behind 0": tensor(shape=(0, 2**63), data=[]),
    "dimension 2^64-1": tensor(shape=(2**64 - 1,), data=[1]),
    "dimensions overflow": tensor(shape=(2**32, 2**32), data=[1]),
    "dimension a float": tensor(shape=(1.0,), data=[1]),
    "dimension true": tensor(shape=(True,), data=[1]),
    "dimension text": tensor(shape=("1",), data=[1]),
    "dimension null": tensor(shape=(None,), data=[1]),
    "70 dimensions": tensor(shape=[1] * 70, data=[1]),
    "too few": tensor(data=[1]),
    "too many": tensor(data=[1, 2, 3]),
    "empty": tensor(data=[]),
    "neither data nor size": tensor(),
    "data null without size": tensor(data=None),
    "data a number": tensor(data=1),
    "data an object": tensor(data={}),
    "data text": tensor("BYTES", (1,), data="x"),
    "ragged": tensor(shape=(2, 2), data=[[1, 2], [3]]),
    "nested otherwise": tensor(shape=(2, 3), data=[[1, 2], [3, 4], [5, 6]]),
    "nested too deep": tensor(shape=(2,), data=[[1], [2]]),
    "nested not deep enough": tensor(shape=(2, 1, 1), data=[[1], [2]]),
    "nested half": tensor(shape=(2, 1), data=[[1], 2]),
    "nested half, flat first": tensor(shape=(2,), data=[1, [2]]),
    "1.0 for INT32": tensor("INT32", data=[1, 1.0]),
    "true for INT32": tensor("INT32", data=[1, True]),
    "null for INT32": tensor("INT32", data=[1, None]),
    "text for INT32": tensor("INT32", data=[1, "1"]),
    "1 for BOOL": tensor("BOOL", data=[True, 1]),
    "0.0 for BOOL": tensor("BOOL", data=[True, 0.0]),
    "null for BOOL": tensor("BOOL", data=[True, None]),
    "true for FP32": tensor(data=[1, True]),
    "text for FP32": tensor(data=[1, "1"]),
    "object for FP32": tensor(data=[1, {}]),
    "number for BYTES": tensor("BYTES", data=["a", 1]),
    "null for BYTES": tensor("BYTES", data=["a", None]),
    "300 for UINT8": tensor("UINT8", data=[1, 300]),
    "-1 for UINT8": tensor("UINT8", data=[1, -1]),
    "128 for INT8": tensor("INT8", data=[1, 128]),
    "2^31 for INT32": tensor("INT32", data=[1, 2**31]),
    "2^63 for INT64": tensor("INT64", data=[1, 2**63]),
    "-2^63-1 for INT64": tensor("INT64", data=[1, -(2**63) - 1]),
    "2^64 for UINT64": tensor("UINT64", data=[1, 2**64]),
    "1e39 for FP32": tensor(data=[1, 1e39]),
    "data and size": tensor(data=[1, 2], parameters={"binary_data_size": 8}),
    "size without bytes": tensor(parameters={"binary_data_size": 8}),
    "shared memory before its beginning": tensor(
        parameters={"shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": -1}
    ),
    "parameters text": tensor(data=[1, 2], parameters="x"),
}


async def check_refused(call, answer, code="INVALID_ARGUMENT"):
    assert answer.status == 400, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["code"] == code
    text = answer.json["error"]
    assert isinstance(text, str)
    assert "Traceback" not in text
    assert "Error" not in text
    assert len(text) < 500
    assert (await call.infer(GOOD)).status == 200


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_malformed_body_is_refused(call, body):
    """Whatever a body holds, the answer is a 400 that says what is wrong."""
    data = body if isinstance(body, bytes) else body.encode()
    await check_refused(call, await call("POST", "/v2/models/echo/infer", data))


@pytest.mark.parametrize("item", TENSORS.values(), ids=TENSORS.keys())
async def test_a_malformed_tensor_is_refused(call, item):
    """Types, ranges, shapes and counts are checked before anything is allocated."""
    await check_refused(call, await call.infer(item))


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
async def test_half_floats_are_not_carried_by_json(call, datatype):
    """FP16 and BF16 have no JSON form; the text names the binary extension."""
    answer = await call.infer(tensor(datatype, data=[1, 2]))
    await check_refused(call, answer, "NOT_CARRIED")
    assert "binary" in answer.json["error"]


def body_of(tail: bytes, *sizes: object, shape=(2,), datatype="FP32") -> tuple[bytes, int]:
    items = [tensor(datatype, shape, parameters={"binary_data_size": size}) for size in sizes]
    text = json.dumps({"inputs": items}).encode()
    return text + tail, len(text)


@pytest.mark.parametrize(
    ("tail", "size"),
    [(b"1234567", 8), (b"123456789", 8), (b"12345678", 9), (b"1234567", 7), (b"", 8), (b"12345678", -1),
     (b"12345678", 8.0), (b"12345678", "8"), (b"12345678", True), (b"12345678", 2**70)],
)  # fmt: skip
async def test_binary_sizes_must_fit_body_and_shape(call, tail, size):
    """Too few bytes, bytes left over, and sizes that are no numbers are refused."""
    body, length = body_of(tail, size)
    await check_refused(call, await call("POST", "/v2/models/echo/infer", body, {HEAD: str(length)}))


@pytest.mark.parametrize("value", ["-1", "+5", "12abc", "1e2", " ", "", "99999", "0x10", "1.0", "٣", "9" * 30])
async def test_a_lying_length_header_is_refused(call, value):
    """The header takes digits, at most the size of the body."""
    body, _ = body_of(b"12345678", 8)
    headers = {HEAD: value.encode().decode("latin-1")}
    await check_refused(call, await call("POST", "/v2/models/echo/infer", body, headers))


@pytest.mark.parametrize(
    "raw",
    [b"\5\0\0\0ab", b"\1\0\0", b"\xff\xff\xff\xffab", b"\1\0\0\0a", b"\1\0\0\0a\1\0\0\0b\1\0\0\0c"],
)  # fmt: skip
async def test_bytes_elements_must_agree_with_their_lengths(call, raw):
    """Cut lengths, cut elements, and too few or many of them are refused where BYTES are read."""
    body, length = body_of(raw, len(raw), datatype="BYTES")
    answer = await call("POST", "/v2/models/echo/infer", body, {HEAD: str(length)})
    await check_refused(call, answer)


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "soon", "", "99999999999999"])
async def test_the_timeout_header_takes_a_positive_integer(call, value):
    """Anything else is a 400 that names the header."""
    answer = await call.infer(GOOD, headers={"Inference-Timeout-Ms": value})
    await check_refused(call, answer)
    assert "Inference-Timeout-Ms" in answer.json["error"]


@pytest.mark.parametrize("code", list(Code), ids=lambda code: code.name)
async def test_every_code_has_its_status_and_name(call, code):
    """The error table holds: HTTP status, our code beside the text, Retry-After where trying again helps."""
    answer = await call.infer(GOOD, model=f"fail-{code.name}")
    assert (answer.status, answer.json["code"]) == (code.status.http, code.name)
    assert answer.json["error"].startswith("it was fail-")
    assert answer.headers["content-type"] == "application/json"
    assert ("Retry-After" in answer.headers) == code.status.retryable


async def test_an_unknown_exception_tells_nothing_of_the_insides(call, caplog):
    """A bug is a 500 with a general sentence; the log has the reason."""
    answer = await call.infer(GOOD, model="bug")
    assert (answer.status, answer.json["code"]) == (500, "INTERNAL")
    assert b"secret" not in answer.body
    assert b"ValueError" not in answer.body
    assert "secret" in caplog.text


async def test_bytes_that_are_not_text_need_binary_output(call):
    """A BYTES output that is not UTF-8 cannot be JSON; the text says to request binary_data."""
    raw = b"\1\0\0\0\xff"
    body, length = body_of(raw, len(raw), datatype="BYTES", shape=(1,))
    answer = await call("POST", "/v2/models/echo/infer", body, {HEAD: str(length)})
    await check_refused(call, answer, "NOT_CARRIED")
    assert "binary_data" in answer.json["error"]
