"""`config.pbtxt`, and what stands in the gateway's URLs: cursors, filters, conditions, preferences."""

from __future__ import annotations

from urllib.parse import parse_qsl

from google.protobuf import text_format

from crossover.model_server import config, config_text
from crossover.model_server.model_error import ModelError
from crossover.protocol.errors import Code, InferenceError
from crossover.protos import inference as pb
from crossover.rest_gateway.api import conditions, negotiation
from crossover.rest_gateway.api.problems import Problem
from crossover.rest_gateway.predictions import in_url, keys, queries
from tests.fuzz.target import Target, demand

COMPARED_UP_TO = 8192


def config_pbtxt(data: bytes) -> None:
    """A text that protobuf reads is read as protobuf reads it; another is a model's error, in one sentence."""
    text = data.decode("utf-8", "replace")
    try:
        found = config.read_text(text, "m")[0]
    except ModelError as error:
        demand("Traceback" not in str(error), "an error is a sentence")
        return
    if len(data) > COMPARED_UP_TO:
        return
    expected = pb.ModelConfig()
    try:
        text_format.Parse(text, expected, allow_unknown_field=True)
    except text_format.ParseError:
        return  # unknown fields that protobuf cannot pass over
    expected.name = "m"
    demand(found == expected, "a configuration is read as protobuf reads it")


def config_json(data: bytes) -> None:
    """A configuration that comes with a load is one or a model's error."""
    try:
        config.from_json(data.decode("utf-8", "replace"), "m")
    except ModelError:
        pass


def query(data: bytes) -> None:
    """The query of a list is read or 400; a number that is read is within its bounds, an id can be asked of any database."""
    fields = dict(parse_qsl(data.decode("latin-1"), keep_blank_values=True))
    _problem(lambda: _page(fields))


def _page(fields: dict[str, str]) -> None:
    queries.check_names(fields, (*queries.FILTERS, "limit", "cursor"))
    _problem(lambda: _listed(fields))
    _problem(lambda: _text_is_storable(fields))


def _listed(fields: dict[str, str]) -> None:
    limit = queries.read_limit(fields)
    demand(1 <= limit <= queries.MOST_LISTED, "a limit is within its bounds")
    found = queries.read_cursor(fields)
    if found is not None:
        demand("\0" not in found, "an id in a cursor has no NUL, which no database takes")
        again = queries.next_page({}, found).partition("cursor=")[2]
        demand(queries.read_cursor(dict(parse_qsl(f"cursor={again}"))) == found, "a cursor comes back")


def _text_is_storable(fields: dict[str, str]) -> None:
    wanted = queries.read_filter(fields)
    for text in (wanted.model, wanted.label, wanted.upstream):
        demand(text is None or "\0" not in text, "a filter has no NUL, which no database takes")
    for moment in (wanted.since, wanted.until):
        demand(moment is None or -(2**63) <= moment < 2**63, "a moment is one that databases hold")


_DESCRIBED = [
    pb.ModelMetadataResponse.TensorMetadata(name=kind, datatype=kind, shape=shape)
    for kind, shape in (
        ("FP32", [-1, 2]),
        ("INT64", [2]),
        ("BYTES", [-1]),
        ("BOOL", [-1, -1]),
        ("FP64", []),
        ("FP16", [1]),
    )
]


def tensors_in_url(data: bytes) -> None:
    """Elements in a URL are a tensor of its model's input, or refused."""
    items = parse_qsl(data.decode("latin-1"), keep_blank_values=True)
    for described in _DESCRIBED:
        mine = [(described.name if name in ("x", described.name) else name, text) for name, text in items]
        try:
            for tensor in in_url.tensors_in_url([described], mine, ("version",)):
                demand(tensor.array.shape == tensor.shape, "a tensor has the shape that it says")
        except InferenceError as error:
            demand(error.code in (Code.INVALID_ARGUMENT, Code.NOT_CARRIED), "a URL is refused with a caller's error")


def fields(data: bytes) -> None:
    """Header fields of the /api resources are read or a problem of the caller's."""
    text = data.decode("latin-1")
    _problem(lambda: negotiation.check_acceptable(text))
    negotiation.prefers("text/html", text, negotiation.JSON)
    _problem(lambda: negotiation.check_content_type(text, (negotiation.JSON,), "Accept-Post"))
    _problem(lambda: negotiation.preferences(text.split("\n")))
    _problem(lambda: keys.read_key(text))
    _problem(lambda: conditions.require_match(text or None))
    _problem(lambda: conditions.check_match(text, '"a-1"'))


def _problem(read) -> None:
    try:
        read()
    except Problem as problem:
        demand(400 <= problem.status < 500, "what a request says wrong is the caller's problem")


_CONFIG = (
    b'name: "m" platform: "onnxruntime_onnx" max_batch_size: 8 input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 2 ] } ]',
    b'output { name: "y" data_type: TYPE_STRING dims: [ 1 ] label_filename: "labels.txt" }\ndynamic_batching { }',
    b'parameters { key: "a" value: { string_value: "b" } } instance_group [ { count: 2 kind: KIND_CPU } ]',
    b'new_field [ { a: 1 } ] other { b: "c" d: [ 1, 2 ] } batch_input [ { kind: BATCH_ELEMENT_COUNT } ] # comment\n',
    b'ensemble_scheduling { step [ { model_name: "a" input_map { key: "x" value: "y" } } ] }',
    b"version_policy: { latest { num_versions: 2 } } model_warmup { name: 'w' batch_size: 1 }",
    b"version_policy { specific { versions: [ 0 ] } }",
    b"version_policy { specific { } }",
    b'input [ { name: "x" }, { name: "x" } ]',
    b'name: "m\\u00e4\\U0001F600\\ud83d\\ude00\\x41\\101\\n"',
    b'name: "\\ud800"',
    b'name: "\\U99999999"',
    b'name: "\\q"',
    b"optimization { priority: 0x1 graph { level: 010 } }",
    b"input [ 7 ]",
    b"input 7",
    b"batch_input [ { kind: 0x10 } ]",
    b'name: "m" input [ { name: "x" data_type: 0xB dims: [ 1 ] } ] sequence_batching { }',
    b"a" * 1_100_000,
)
_CONFIG_TOKENS = (
    b"name", b"input", b"output", b"dims", b"data_type", b"TYPE_FP32", b"max_batch_size", b"parameters", b"key", b"value", b"new_field",
    b"string_value", b'"x"', b"'y'", b"{", b"}", b"[", b"]", b"<", b">", b":", b",", b";", b"-", b"1", b"-1", b"1e9", b"# c\n", b"\\", b'"',
    b"\\377", b"99999999999999999999", b"instance_group", b"batch_input", b"unknown [ { a: [ { } ] } ]",
)  # fmt: skip

TARGETS = [
    Target("config", config_pbtxt, (config_text, config), _CONFIG_TOKENS, _CONFIG, speed=20),
    Target("config-json", config_json, (config,), (b'"name"', b'"input"', b"{", b"}", b"[", b"]", b":", b",", b"1", b'"TYPE_FP32"'), (
        b'{"name":"m","max_batch_size":4,"input":[{"name":"x","data_type":"TYPE_FP32","dims":["-1"]}]}', b"{}"), speed=20),
    Target("query", query, (queries,), (
        b"limit=", b"cursor=", b"YWZ0ZXI6", b"since=", b"until=", b"state=", b"model=", b"label=", b"%00", b"&", b"=", b"2026-01-31",
        b"T12:00:00", b"Z", b"+09:00", b"succeeded", b"0000000001", b"9999", b"%2B",
    ), (b"limit=20&cursor=YWZ0ZXI6YWJj&state=failed", b"since=2026-01-31T12:00:00Z&until=2026-02-01&model=m&label=3&upstream=grpc",
        b"limit=500", b"cursor=YWZ0ZXI6", b"since=0001-01-01T00:00:00%2B14:00")),
    Target("url-tensors", tensors_in_url, (in_url,), (
        b"x=", b",", b"&", b"nan", b"inf", b"-", b"1e999", b"1_0", b"true", b"0", b"version=1", b"%2C", b"\xd9\xa3", b"9" * 30,
    ), (b"x=1,2.5,-3e2,4", b"x=true,false,1,0", b"x=a,b&version=3", b"x=9223372036854775807,-1", b"x=")),
    Target("api-fields", fields, (negotiation, conditions, keys), (
        b"application/json", b"*/*", b";q=0", b";q=0.5", b",", b'"a-1"', b"W/", b"*", b"respond-async", b"wait=5", b"; charset=utf-8", b'"',
        b"\\", b"application/merge-patch+json", b"\n",
    ), (b"application/json;q=0.5, */*;q=0.1", b"text/html,*/*;q=0.8",
        b'"a-1", W/"b-2"', b"respond-async, wait=10", b'"key"', b"*", b"", b"k" * 300)),
]  # fmt: skip
