"""Bodies made to cost more than they are long: one unit repeated to any size, by codec.

A row is (before, unit, behind): the body is `before`, as many `unit` as fit, `behind`. Most are no messages at all; what
they have in common is that somebody who wrote a parser could have read a part of them twice for each unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from crossover.endpoints.rest import v1
from crossover.model_server import config
from crossover.model_server.model_error import ModelError
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json.text import loads_object
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.protobuf.wire import varint
from crossover.protocol.tensors import Tensor
from crossover.rest_gateway.api.problems import Problem
from crossover.rest_gateway.predictions import queries
from crossover.transport.grpc.messages import BadMessageError, MessageReader
from crossover.transport.http1.chunks import ChunkedBody
from crossover.transport.http1.messages import RefusalError
from crossover.transport.http2.connection import Connection
from crossover.transport.http2.frames import PREFACE, frame, head
from crossover.transport.http2.header_blocks import literal

ONE = b'{"inputs":[{"name":"x","datatype":"%b","shape":%b,"data":'
"""The beginning of a request with one tensor, up to its data."""


def one(kind: bytes, shape: bytes = b"[4]") -> bytes:
    return ONE % (kind, shape)


@dataclass(frozen=True)
class Shape:
    """One family of bodies."""

    name: str
    make: Callable[[int], bytes]
    decode: Callable[[bytes], object]


def _repeated(before: bytes, unit: bytes, behind: bytes) -> Callable[[int], bytes]:
    return lambda size: before + unit * max(1, (size - len(before) - len(behind)) // len(unit)) + behind


def decode_json_request(body: bytes) -> object:
    return json_codec.decode_request(body, "m")


JSON_REQUESTS: dict[str, tuple[bytes, bytes, bytes]] = {
    "numbers with text at the end": (one(b"FP32") + b"[", b"0.5,", b'"a"]}]}'),
    "text with a number at the end": (one(b"BYTES") + b"[", b'"abcdef",', b"1]}]}"),
    "numbers that are not closed": (one(b"FP32") + b"[", b"0.5,", b"1"),
    "numbers with a fault behind": (one(b"FP32") + b"[", b"0.5,", b"1]}]}x"),
    "blanks before a fault": (one(b"FP32") + b"[1", b" ", b"x]}]}"),
    "minus signs in a row": (one(b"FP32") + b"[1,", b"-", b"]}]}"),
    "text before a bad escape": (one(b"BYTES") + b'["', b"a", b'\\x"]}]}'),
    "a number of digits and a fault": (one(b"FP32") + b"[0.", b"1", b"e]}]}"),
    "objects that nest under a name": (b'{"inputs":[],"z":', b'{"a":', b"1"),
    "members that are long": (b'{"inputs":[],"z":[', b'{"a":[1,2,3,4,5,6,7,8,9],"b":"cccccccccccccc"},', b"1]}"),
    "open numbers under data": (b'{"inputs":[', b'"data":[1,', b""),
    "open nested numbers under data": (b'{"inputs":[', b'"data":[[1,', b""),
    "open negative numbers": (b"", b'"data":[-', b""),
    "open literals": (b"", b'"data":[null,', b""),
    "open text under data": (b"", b'"data":["a",', b""),
    "open nested text under data": (b"", b'"data":[["a",', b""),
    "lists with blanks": (b"", b'"data":[1    ,', b""),
    "lists closed by a brace": (b"", b'"data":[1}', b""),
    "text closed by a brace": (b"", b'"data":["a"}', b""),
    "lists in lists": (one(b"FP32"), b"[", b""),
    "lists in lists with blanks": (one(b"FP32"), b"[ ", b""),
    "lists in lists of numbers": (one(b"FP32"), b"[1,", b""),
    "closed lists in a list": (one(b"FP32") + b"[", b"[1],", b"[1]]}]}"),
    "closed lists in lists": (one(b"FP32") + b"[", b"[[[1]]],", b"[1]]}]}"),
    "closers alone": (one(b"FP32") + b"[1", b"]", b"}]}"),
    "brackets in a number list": (one(b"FP32") + b"[1,", b"[", b"]}]}"),
    "objects in a number list": (one(b"FP32") + b"[1,", b"{},", b"1]}]}"),
    "many short arrays": (b'{"inputs":[', b'{"data":[1.25,2.5,3.75,4.5]},', b"{}]}"),
    "many arrays of text": (b'{"inputs":[', b'{"data":["aaaa","bbbb","cccc"]},', b"{}]}"),
    "data keys without colons": (b"", b'"data" ', b""),
    "data keys and blanks": (b"", b'"data"              ', b""),
    "data keys with colons": (b"", b'"data":', b""),
    "blanks behind a key": (b'{"inputs":[{"data"', b" ", b":[1.5,2.5,3.5,4.5]}]}"),
    "blanks behind a colon": (b'{"inputs":[{"data":', b" ", b"[1.5,2.5,3.5,4.5]}]}"),
    "blanks in a list": (one(b"FP32") + b"[1.5,2.5,3.5", b" ", b",4.5]}]}"),
    "blanks before the end": (one(b"FP32") + b"[1.5,2.5,3.5,4.5]}]}", b" ", b""),
    "quotes": (b"", b'"', b""),
    "escaped quotes": (b'{"', b'\\"', b'":1}'),
    "backslashes": (b'{"', b"\\", b""),
    "quotes between backslashes": (b'{"', b'\\\\"', b""),
    "escapes of data keys": (b'{"', b'\\"data\\":[1,', b'":1}'),
    "one number of digits": (one(b"FP32") + b"[", b"1", b",2,3,4]}]}"),
    "one fraction": (one(b"FP64") + b"[0.", b"1", b",2,3,4]}]}"),
    "one exponent": (one(b"FP64") + b"[1e", b"0", b"1,2,3,4]}]}"),
    "minus signs": (one(b"FP64") + b"[", b"-", b"1,2,3,4]}]}"),
    "numbers of 399 digits": (one(b"FP64") + b"[", b"1" * 300 + b"e-300,", b"4]}]}"),
    "numbers next to half way": (one(b"FP64") + b"[", b"9007199254740993.0000000000000000001,", b"4]}]}"),
    "tiny numbers": (one(b"FP64") + b"[", b"2e-308,", b"4]}]}"),
    "infinite numbers": (one(b"FP64") + b"[", b"1e999,", b"4]}]}"),
    "too many elements": (one(b"FP32") + b"[", b"1,", b"1]}]}"),
    "integers too large": (one(b"INT8") + b"[", b"999,", b"1]}]}"),
    "NaN elements": (one(b"FP32") + b"[", b"NaN,", b"1]}]}"),
    "NaN among integers": (one(b"INT32") + b"[", b"NaN,", b"1]}]}"),
    "empty text as BYTES": (one(b"BYTES") + b"[", b'"",', b'""]}]}'),
    "short text as BYTES": (one(b"BYTES") + b"[", b'"ab",', b'""]}]}'),
    "text for a number": (one(b"FP32") + b"[", b'"",', b'""]}]}'),
    "escaped text as BYTES": (one(b"BYTES") + b'["', b"\\u00e4", b'"]}]}'),
    "surrogate pairs": (one(b"BYTES") + b'["', b"\\ud83d\\ude00", b'"]}]}'),
    "half surrogates": (one(b"BYTES") + b'["', b"\\ud83d", b'"]}]}'),
    "bad UTF-8": (one(b"BYTES") + b'["', b"\xc3", b'"]}]}'),
    "text of three bytes": (one(b"BYTES") + b'["', "한".encode(), b'"]}]}'),
    "empty lists as data": (one(b"FP32") + b"[", b"[],", b"[]]}]}"),
    "empty objects as data": (one(b"FP32") + b"[", b"{},", b"{}]}]}"),
    "lists as BYTES": (one(b"BYTES") + b"[", b'[""],', b'[""]]}]}'),
    "rows of one": (one(b"FP32", b"[4,1]") + b"[", b"[1],", b"[1]]}]}"),
    "rows of different lengths": (one(b"FP32", b"[2,2]") + b"[", b"[1],[1,2],", b"[1]]}]}"),
    "true for numbers": (one(b"FP32") + b"[", b"true,", b"1]}]}"),
    "BOOL elements": (one(b"BOOL") + b"[", b"true,", b"true]}]}"),
    "BOOL of numbers": (one(b"BOOL") + b"[", b"1,", b"1]}]}"),
    "FP16 elements": (one(b"FP16") + b"[", b"1,", b"1]}]}"),
    "an unknown datatype": (one(b"FP8") + b"[", b"1,", b"1]}]}"),
    "a datatype that is long": (b'{"inputs":[{"name":"x","datatype":"', b"F", b'","shape":[1],"data":[1]}]}'),
    "a name that is long": (b'{"inputs":[{"name":"', b"x", b'","datatype":"FP32","shape":[2],"data":[1]}]}'),
    "a shape of ones": (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1],"shape":[', b"1,", b"1]}]}"),
    "a shape of zeros": (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1],"shape":[', b"0,", b"1]}]}"),
    "a shape that multiplies": (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1],"shape":[', b"1000000000,", b"1]}]}"),
    "a shape of lists": (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1],"shape":[', b"[],", b"1]}]}"),
    "a shape of text": (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1],"shape":[', b'"a",', b"1]}]}"),
    "a dimension of digits": (b'{"inputs":[{"name":"x","datatype":"FP32","data":[1],"shape":[', b"1", b"]}]}"),
    "empty inputs": (b'{"inputs":[', b"{},", b"{}]}"),
    "null inputs": (b'{"inputs":[', b"null,", b"{}]}"),
    "small inputs": (
        b'{"inputs":[', b'{"name":"x","datatype":"FP32","shape":[1],"data":[1]},', b'{"name":"x"}]}'),
    "repeated inputs keys": (b"{", b'"inputs":[],', b'"inputs":[]}'),
    "repeated data keys": (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],', b'"data":[1],', b'"data":[1]}]}'),
    "many outputs": (b'{"inputs":[],"outputs":[', b'{"name":"y"},', b'{"name":"y"}]}'),
    "many binary outputs": (
        b'{"inputs":[],"outputs":[', b'{"name":"y","parameters":{"binary_data":true}},', b'{"name":"y"}]}'),
    "parameters of lists": (b'{"inputs":[],"parameters":{"a":[', b"[],", b"1]}}"),
    "a parameter of text": (b'{"inputs":[],"parameters":{"a":"', b"b", b'"}}'),
    "unknown keys that nest": (b'{"inputs":[],"z":', b"[", b""),
    "unknown keys of lists": (b'{"inputs":[],"z":[', b"[],", b"1]}"),
    "unknown keys of objects": (b'{"inputs":[],"z":[', b'{"a":{}},', b"1]}"),
    "an id of text": (b'{"inputs":[],"id":"', b"b", b'"}'),
    "NaN in the way of orjson": (b'{"inputs":[],"z":[', b"NaN,", b"1]}"),
    "objects that nest": (b"", b'{"a":', b""),
    "lists that nest and close": (b'{"inputs":[],"z":' + b"[" * 90, b"1,", b"1" + b"]" * 90 + b"}"),
    "commas": (b"[", b",", b"]"),
    "colons": (b"{", b":", b"}"),
    "NUL bytes": (b'{"inputs":[', b"\0", b"]}"),
    "high bytes": (b'{"inputs":["', b"\xff", b'"]}'),
}  # fmt: skip


def _distinct_keys(before: bytes, value: bytes, behind: bytes) -> Callable[[int], bytes]:
    def make(size: int) -> bytes:
        return before + b",".join(b'"k%07d":%b' % (i, value) for i in range(size // (11 + len(value)))) + behind

    return make


def json_shapes() -> Iterator[Shape]:
    for name, parts in JSON_REQUESTS.items():
        yield Shape(name, _repeated(*parts), decode_json_request)
    for name, parts in {
        "many parameters": (b'{"inputs":[],"parameters":{', b"1", b"}}"),
        "many parameters of text": (b'{"inputs":[],"parameters":{', b'""', b"}}"),
        "many unknown keys": (b'{"inputs":[],', b"1", b"}"),
        "many unknown keys of a tensor": (b'{"inputs":[{', b"[]", b"}]}"),
    }.items():
        yield Shape(name, _distinct_keys(*parts), decode_json_request)


def decode_binary_request(body: bytes) -> object:
    return binary_codec.decode_request(body, len(body) - 4, "m")


BINARY_REQUESTS: dict[str, tuple[bytes, bytes, bytes]] = {
    "open numbers under data": JSON_REQUESTS["open numbers under data"],
    "numbers and text before the bytes": (one(b"FP32") + b"[", b"0.5,", b'"a"]}]}1234'),
    "inputs without bytes": (
        b'{"inputs":[', b'{"name":"x","datatype":"FP32","shape":[0],"parameters":{"binary_data_size":0}},', b"{}]}1234"),
    "empty inputs": (b'{"inputs":[', b"{},", b"{}]}1234"),
    "blanks": (b'{"inputs":[', b" ", b"]}1234"),
    "a shape that multiplies": (
        b'{"inputs":[{"name":"x","datatype":"FP32","parameters":{"binary_data_size":4},"shape":[', b"999,", b"1]}]}1234"),
}  # fmt: skip


def decode_raw_bytes(body: bytes) -> object:
    return Tensor.from_raw("x", "BYTES", [len(body) // 4], body).array


def nested(tag: bytes, *more: bytes) -> Callable[[bytes], bytes]:
    """A function that puts bytes into a field with this tag, and that field into the next one."""

    def wrap(content: bytes) -> bytes:
        for outer in (tag, *more):
            content = outer + varint(len(content)) + content
        return content

    return wrap


INPUT, OUTPUT, PARAMETER, RAW, CONTENTS = b"\x2a", b"\x32", b"\x22", b"\x3a", b"\x2a"
_BYTES_INPUT = b"\x0a\x01x\x12\x05BYTES\x1a\x01\x04"
_FP32_INPUT = b"\x0a\x01x\x12\x04FP32\x1a\x01\x04"
_INT32_INPUT = b"\x0a\x01x\x12\x05INT32\x1a\x01\x04"


def _message(before: bytes, unit: bytes, wrap: Callable[[bytes], bytes]) -> Callable[[int], bytes]:
    return lambda size: wrap(before + unit * max(1, (size - len(before) - 20) // len(unit)))


def _typed(described: bytes, unit: bytes, *inner: bytes) -> Callable[[int], bytes]:
    """One input whose typed contents are `unit` repeated."""

    def make(size: int) -> bytes:
        contents = nested(*inner, CONTENTS)(unit * max(1, (size - 50) // len(unit)))
        return nested(INPUT)(described + contents)

    return make


def plain(content: bytes) -> bytes:
    return content


PROTOBUF_REQUESTS: dict[str, Callable[[int], bytes]] = {
    "empty inputs": _message(b"", INPUT + b"\0", plain),
    "empty outputs": _message(b"", OUTPUT + b"\0", plain),
    "empty parameters": _message(b"", PARAMETER + b"\0", plain),
    "empty raw contents": _message(b"", RAW + b"\0", plain),
    "model names": _message(b"", b"\x0a\x01x", plain),
    "unknown fields": _message(b"", b"\x78\x01", plain),
    "unknown fields of an input": _message(b"", b"\x78\x01", nested(INPUT)),
    "groups": _message(b"", b"\x7b", plain),
    "groups that close": _message(b"", b"\x7b\x7c", plain),
    "endless varints": _message(b"", b"\xff", plain),
    "parameters of an input": _message(_FP32_INPUT, PARAMETER + b"\0", nested(INPUT)),
    "parameters of small inputs": _message(b"", nested(INPUT)(PARAMETER + b"\0"), plain),
    "names of an input": _message(b"", b"\x0a\x01x", nested(INPUT)),
    "dimensions of an input": _message(b"", b"\x01", nested(b"\x1a", INPUT)),
    "dimensions one by one": _message(b"", b"\x18\x01", nested(INPUT)),
    "contents of an input": _message(b"", CONTENTS + b"\0", nested(INPUT)),
    "empty bytes_contents": _typed(_BYTES_INPUT, b"\x42\0"),
    "short bytes_contents": _typed(_BYTES_INPUT, b"\x42\1a"),
    "bytes_contents and others": _typed(_BYTES_INPUT, b"\x42\0\x08\1"),
    "bytes_contents for numbers": _typed(_FP32_INPUT, b"\x42\0"),
    "numbers one by one": _typed(_FP32_INPUT, b"\x35abcd"),
    "packed numbers": _typed(_FP32_INPUT, b"abcd", b"\x32"),
    "packed small integers": _typed(_INT32_INPUT, b"\1", b"\x12"),
    "packed integers too long": _typed(_INT32_INPUT, b"\xff", b"\x12"),
    "packed numbers in pieces": _typed(_FP32_INPUT, b"\x32\4abcd"),
}


def _v1(before: bytes, unit: bytes, behind: bytes) -> Shape:
    def decode(body: bytes) -> object:
        rows = loads_object(body)["instances"]
        return [v1._tensor(name, "FP32", values) for name, values in v1._columns(rows, {"x": "FP32"}).items()]

    return Shape("", _repeated(before, unit, behind), decode)


def _v1_whole(before: bytes, unit: bytes, behind: bytes) -> Shape:
    return Shape("", _repeated(before, unit, behind), lambda body: v1._inputs(body, {"x": "FP32"}))


V1_REQUESTS = {
    "rows with text at the end": _v1_whole(b'{"instances":[', b"[1.25,2.5],", b'[1.25,"a"]]}'),
    "objects with one of another length": _v1_whole(b'{"instances":[', b'{"x":[1.25,1.25,1.25,1.25]},', b'{"x":[1]}]}'),
    "columns that are not closed": _v1_whole(b'{"inputs":{"x":[', b"1.25,", b"1"),
    "rows of one": _v1(b'{"instances":[', b"[1],", b"[1]]}"),
    "rows of nothing": _v1(b'{"instances":[', b"[],", b"[]]}"),
    "objects": _v1(b'{"instances":[', b'{"x":1},', b'{"x":1}]}'),
    "empty objects": _v1(b'{"instances":[', b"{},", b"{}]}"),
    "lists that nest": _v1(b'{"instances":[', b"[", b"]}"),
    "numbers": _v1(b'{"instances":[', b"1.5,", b"1.5]}"),
    "text": _v1(b'{"instances":[', b'"a",', b"1.5]}"),
    "rows of text": _v1(b'{"instances":[', b'["a","b","c","d"],', b'["a","b","c","d"]]}'),
    "lists under names": _v1(b'{"instances":[', b'{"x":[1.25,1.25,1.25]},', b'{"x":[1.25,1.25,1.25]}]}'),
    "lists of two lengths": _v1(b'{"instances":[', b'{"x":[1.25,1.25,1.25]},', b'{"x":[1.25,1.25,1.25,1]}]}'),
    "lists under other names": _v1(b'{"instances":[1],"a":[', b'{"b":[1.25,1.25,1.25]},', b"[]]}"),
    "a list that does not end": _v1(b'{"instances":[1],"a":[', b"[1.25],", b"[1]"),
}


def decode_chunks(body: bytes) -> object:
    reader, into, raw, at = ChunkedBody(), bytearray(), bytearray(body), 0
    with suppress(RefusalError):
        while not reader.is_whole:
            taken, _ = reader.read(raw, at, min(len(raw), at + (256 << 10)), into, 2048)
            if taken == at:
                break
            at = taken
    return into


def decode_messages(body: bytes) -> object:
    return MessageReader(1 << 20).feed(body)


def decode_http2(body: bytes) -> object:
    connection = Connection(client=False, window=1 << 30)
    connection.receive(PREFACE + frame(4, 0, 0, b""))
    for at in range(0, len(body), 256 << 10):
        connection.receive(body[at : at + (256 << 10)])
        while connection.is_behind:
            connection.receive(b"")
        connection.take_output()
    return connection


def decode_grpc(body: bytes) -> object:
    reader = MessageReader(64 << 20)
    with suppress(BadMessageError):
        for at in range(0, len(body), 16 << 10):
            reader.feed(body[at : at + (16 << 10)])
    return reader


def decode_config(body: bytes) -> object:
    with suppress(ModelError):
        return config.read_text(body.decode("latin-1"), "m")
    return None


def decode_cursor(body: bytes) -> object:
    with suppress(Problem):
        return queries.read_cursor({"cursor": body.decode("latin-1")})
    return None


_OPENED = frame(1, 4, 1, literal(":method", "POST") + literal(":scheme", "http") + literal(":path", "/x"))
OTHERS: dict[str, tuple[Callable[[bytes], object], tuple[bytes, bytes, bytes]]] = {
    "http1: chunks of one byte": (decode_chunks, (b"", b"1\r\na\r\n", b"0\r\n\r\n")),
    "http1: chunks with extensions": (decode_chunks, (b"", b"1;a\r\na\r\n", b"0\r\n\r\n")),
    "http1: sizes with zeros": (decode_chunks, (b"", b"0000000000000001\r\na\r\n", b"0\r\n\r\n")),
    "http1: an endless chunk": (decode_chunks, (b"ffffffffffff\r\n", b"a", b"")),
    "http1: an endless size": (decode_chunks, (b"", b"0", b"")),
    "http1: an endless extension": (decode_chunks, (b"1;", b"a", b"\r\na")),
    "http1: trailers": (decode_chunks, (b"0\r\n", b"X: 1\r\n", b"\r\n")),
    "grpc: small messages in one frame": (decode_messages, (b"", b"\0\0\0\0\x20" + bytes(32), b"")),
    "http2: DATA of one byte": (decode_http2, (_OPENED, frame(0, 0, 1, b"a"), b"")),
    "http2: DATA of a hundred bytes": (decode_http2, (_OPENED, frame(0, 0, 1, b"a" * 100), b"")),
    "http2: padded DATA": (decode_http2, (_OPENED, frame(0, 8, 1, b"\x50" + bytes(130)), b"")),
    "http2: one DATA frame": (decode_http2, (_OPENED + head(0, 0, 1, (1 << 24) - 1), b"a", b"")),
    "http2: unknown frames": (decode_http2, (b"", frame(0xEE, 0, 0, b""), b"")),
    "http2: CONTINUATION": (decode_http2, (head(1, 0, 1, 0), frame(9, 0, 1, b"\x82"), b"")),
    "http2: streams": (decode_http2, (b"", _OPENED, b"")),
    "grpc: empty messages": (decode_grpc, (b"", bytes(5), b"")),
    "grpc: messages of one byte": (decode_grpc, (b"", b"\0\0\0\0\1a", b"")),
    "grpc: one message": (decode_grpc, (b"\0\3\xff\xff\xff", b"a", b"")),
    "config: unknown fields": (decode_config, (b"", b"new: 1\n", b"")),
    "config: unknown lists": (decode_config, (b"", b"new [ { a: 1 } ]\n", b"")),
    "config: unknown lists that nest": (decode_config, (b"new ", b"[", b"")),
    "config: inputs": (decode_config, (b"", b"input { }\n", b"")),
    "config: strings": (decode_config, (b"name: ", b'"a" ', b"")),
    "config: quotes": (decode_config, (b"name: ", b'"', b"")),
    "config: comments": (decode_config, (b"", b"# a\n", b"")),
    "config: blanks": (decode_config, (b"", b" ", b"")),
    "config: dims": (decode_config, (b"input { dims: [ 1", b", 1", b" ] }")),
    "cursor: letters": (decode_cursor, (b"YWZ0ZXI6", b"YWFh", b"")),
    "cursor: padding": (decode_cursor, (b"YWZ0ZXI6", b"=", b"")),
}  # fmt: skip
"""Parsers beside the codecs: what a connection, a model's configuration and a URL can bring."""

SHAPES = {
    **{f"json: {shape.name}": shape for shape in json_shapes()},
    **{
        f"binary: {name}": Shape(name, _repeated(*parts), decode_binary_request)
        for name, parts in BINARY_REQUESTS.items()
    },
    "raw: empty elements": Shape("", _repeated(b"", b"\0\0\0\0", b""), decode_raw_bytes),
    "raw: lengths beyond the end": Shape("", _repeated(b"", b"\xff\xff\xff\xff", b""), decode_raw_bytes),
    **{
        f"protobuf: {name}": Shape(name, make, protobuf_codec.decode_request)
        for name, make in PROTOBUF_REQUESTS.items()
    },
    **{f"v1: {name}": shape for name, shape in V1_REQUESTS.items()},
    **{name: Shape(name, _repeated(*parts), decode) for name, (decode, parts) in OTHERS.items()},
}
"""All of them, by codec and name."""
