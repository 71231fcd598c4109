"""Bodies of infer requests and replies: JSON, OIP's binary form, protobuf raw and typed, KServe's V1."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from crossover.endpoints.rest import v1
from crossover.protocol.codecs import proto_json
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.binary import templates as binary_templates
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json import elements as json_elements
from crossover.protocol.codecs.json import templates as json_templates
from crossover.protocol.codecs.json import text as json_text
from crossover.protocol.codecs.json import unread as json_unread
from crossover.protocol.codecs.json import values as json_values
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.protobuf import contents as protobuf_contents
from crossover.protocol.codecs.protobuf import parameters as protobuf_parameters
from crossover.protocol.codecs.protobuf import templates as protobuf_templates
from crossover.protocol.codecs.protobuf import varints as protobuf_varints
from crossover.protocol.codecs.protobuf import wire as protobuf_wire
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from crossover.rest_gateway.api import bodies
from crossover.rest_gateway.api.problems import Problem
from crossover.rest_gateway.predictions import orders
from tests.fuzz.target import Target, demand
from tests.protocol.codecs import hostile

REFUSALS = frozenset({Code.INVALID_ARGUMENT, Code.TOO_LARGE, Code.NOT_CARRIED, Code.UNIMPLEMENTED})
NATIVE_UP_TO = 64 << 10
"""Longer bodies are not read a second time without the native readers: these are what keeps them quick."""

Outcome = tuple[str, Any]


def outcome(decode: Callable[[], Any]) -> Outcome:
    """("refused", code) or ("taken", message), all of whose elements can be read."""
    try:
        message = decode()
        if isinstance(message, InferRequest | InferResponse) and message.shared is not None:
            return "shared", repr(message.shared)  # its tensors are not here, but in a region that its endpoint reads
        if isinstance(message, InferRequest | InferResponse):
            for tensor in tensors_of(message):
                demand(tensor.array.shape == tensor.shape, "a tensor has the shape that it says")
    except InferenceError as error:
        demand(error.code in REFUSALS, f"a body is refused with a caller's error, not {error.code.name}")
        demand("Traceback" not in error.message and "object at 0x" not in error.message, "an error is a sentence")
        return "refused", error.code
    return "taken", message


def tensors_of(message: InferRequest | InferResponse) -> list[Tensor]:
    return message.inputs if isinstance(message, InferRequest) else message.outputs


def meaning(message: InferRequest | InferResponse) -> Any:
    """What a message says, to be compared; NaN is NaN."""
    tensors = [(t.name, t.datatype.name, t.shape, elements(t)) for t in tensors_of(message)]
    rest = (message.model_name, message.model_version, message.id, repr(sorted(message.parameters.items())))
    asked = [(o.name, repr(sorted(o.parameters.items()))) for o in getattr(message, "outputs", [])] if isinstance(
        message, InferRequest) else []  # fmt: skip
    return tensors, rest, asked


def elements(tensor: Tensor) -> Any:
    if tensor.datatype.kind == "bytes":
        return tensor.array.ravel().tolist()
    if tensor.datatype.kind == "float":
        array = tensor.array.astype("f8")
        return np.where(np.isnan(array), np.nan, array).tobytes()
    return tensor.array.tobytes()


def same(left: Outcome, right: Outcome, promise: str) -> None:
    """Both refuse with one code, or both take what means the same."""
    demand(left[0] == right[0], promise)
    if left[0] != "taken":
        demand(left[1] == right[1], promise)
    else:
        demand(meaning(left[1]) == meaning(right[1]), promise)


class _long_from:
    """Texts from this size on are read in parts, of a few bytes where they are all read so."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> None:
        self._kept = json_unread.LONG_BYTES, json_unread.PIECE_BYTES
        json_unread.LONG_BYTES = self._size
        json_unread.PIECE_BYTES = self._kept[1] if self._size else 16

    def __exit__(self, *_: object) -> None:
        json_unread.LONG_BYTES, json_unread.PIECE_BYTES = self._kept


def json_request(data: bytes) -> None:
    """The native readers change nothing; a second reading, from the template, means the same; so does what we write."""
    found = outcome(lambda: json_codec.decode_request(data, "m")[0])
    if len(data) <= NATIVE_UP_TO:
        with _long_from(0):
            in_parts = outcome(lambda: json_codec.decode_request(data, "m")[0])
        same(found, in_parts, "a body that is read in parts means the same")
        same(found, _without_native(data), "with and without the native readers a body means the same")
        same(found, outcome(lambda: json_codec.decode_request(data, "m")[0]), "a body read again means the same")
    if found[0] == "taken" and len(data) <= NATIVE_UP_TO and all(t.datatype.json for t in found[1].inputs):
        written = json_codec.encode_request(found[1])
        same(
            found,
            outcome(lambda: json_codec.decode_request(written, "m")[0]),
            "what was read is written, and read again",
        )


def _without_native(data: bytes) -> Outcome:
    kept = json_elements.jsontensors
    json_elements.jsontensors = None
    try:
        return outcome(lambda: json_codec.decode_request(data, "m")[0])
    finally:
        json_elements.jsontensors = kept


def json_response(data: bytes) -> None:
    """A reply is read or refused; what was read is written in either form and means the same."""
    found = outcome(lambda: json_codec.decode_response(data))
    if found[0] == "taken" and len(data) <= NATIVE_UP_TO:
        encoded = binary_codec.encode_response(found[1], ReplyForm(default=True))
        again = outcome(lambda: binary_codec.decode_response(b"".join(encoded.parts), encoded.header_length))
        same(found, again, "a reply written as binary means the same")


def api_document(data: bytes) -> None:
    """A body under /api is an order or a problem of the caller's, the same when it is read in parts."""
    found = _api_orders(data)
    if len(data) <= NATIVE_UP_TO:
        with _long_from(0):
            demand(_api_orders(data) == found, "a body that is read in parts means the same")


def _api_orders(data: bytes) -> Any:
    try:
        document = bodies.parse_object(data)
        found = orders.read_orders(document) if "requests" in document else [orders.read_order(document)]
        return [meaning(order.request()) for order in found]
    except Problem as problem:
        demand(400 <= problem.status < 500, "a problem of a body is the caller's")
        return problem.status
    except InferenceError as error:
        demand(error.code in REFUSALS, "an order is refused with a caller's error")
        return error.code


_V1_TYPES = {"x": "FP32"}
_V1_SEVERAL = {"x": "FP32", "text": "BYTES", "flag": "BOOL", "n": "INT64"}


def v1_body(data: bytes) -> None:
    """A body of KServe's V1 gives tensors of the model's inputs, the same with and without the native readers, or is refused."""
    for datatypes in (_V1_TYPES, _V1_SEVERAL) if len(data) <= NATIVE_UP_TO else (_V1_TYPES,):
        found = _v1_request(data, datatypes, native=True)
        if len(data) <= NATIVE_UP_TO:
            plain = _v1_request(data, datatypes, native=False)
            same(found, plain, "with and without the native readers a body means the same")
        kind, request = found
        if kind == "taken":
            rows = [(int(request.id),)] if request.id else []
            for tensor in request.inputs:
                demand(not rows or tensor.shape[:1] in rows, "each instance is a row of each tensor")


def _v1_request(data: bytes, datatypes: dict[str, str], *, native: bool) -> Outcome:
    """The tensors, and as the id how many instances there are."""

    def read() -> InferRequest:
        tensors, rows = v1._inputs(data, datatypes)
        return InferRequest("m", tensors, id="" if rows is None else str(rows))

    with _long_from(0 if native else len(data) + 1):
        return outcome(read)


def binary_request(data: bytes) -> None:
    """The first four bytes say where the JSON ends; a tail that is used up exactly, or a refusal; the template agrees."""
    length, body = _framed(data)
    found = outcome(lambda: binary_codec.decode_request(body, length, "m")[0])
    if len(body) <= NATIVE_UP_TO:
        same(
            found,
            outcome(lambda: binary_codec.decode_request(body, length, "m")[0]),
            "a body read again means the same",
        )
    if found[0] == "taken" and len(body) <= NATIVE_UP_TO:
        encoded = binary_codec.encode_request(found[1])
        parts, at = b"".join(encoded.parts), encoded.header_length
        again = outcome(lambda: binary_codec.decode_request(parts, at, "m")[0])
        same(found, again, "what was read is written, and read again")
    outcome(lambda: binary_codec.header_length(data[:24].decode("latin-1"), len(body)))


def binary_response(data: bytes) -> None:
    """A binary reply is read or refused, whatever its frame says."""
    length, body = _framed(data)
    found = outcome(lambda: binary_codec.decode_response(body, length))
    if len(body) <= NATIVE_UP_TO:
        same(found, outcome(lambda: binary_codec.decode_response(body, length)), "a reply read again means the same")


_RAW_INPUTS = [
    [pb.ModelMetadataResponse.TensorMetadata(name="x", datatype=kind, shape=shape)]
    for kind, shape in (("FP32", [-1, 2]), ("INT64", [2]), ("BYTES", [-1]), ("FP64", [-1, -1]), ("BOOL", []))
]


def raw_request(data: bytes) -> None:
    """A body that is the only input's bytes gives that input, or a refusal."""
    for inputs in _RAW_INPUTS:
        outcome(lambda inputs=inputs: binary_codec.decode_raw_request(data, inputs, "m")[0])


def _framed(data: bytes) -> tuple[int, bytes]:
    body = data[4:]
    return int.from_bytes(data[:4], "little") % (len(body) + 1), body


def protobuf_request(data: bytes) -> None:
    """What is cut by hand is what the library would have read; and what we write, raw or typed, is read again."""
    found = outcome(lambda: protobuf_codec.decode_request(data))
    outcome(lambda: protobuf_codec.typed_bytes(data))
    outcome(lambda: protobuf_codec.check_fields(data))
    if len(data) > NATIVE_UP_TO:
        return
    same(found, outcome(lambda: protobuf_codec.decode_request(data)), "a message read again means the same")
    with _cut_from(1):
        by_hand = outcome(lambda: protobuf_codec.decode_request(data))
    if by_hand[0] == "taken" or found[0] == "taken":
        same(found, by_hand, "a message cut by hand means what the library reads")
    if found[0] == "taken":
        _again(found, lambda typed: protobuf_codec.encode_request(found[1], typed=typed), protobuf_codec.decode_request)
    for kind in (pb.RepositoryModelLoadRequest, pb.RepositoryIndexRequest):
        _control(kind, data)


def protobuf_response(data: bytes) -> None:
    """A reply, alone and in a stream's message, is read or refused."""
    found = outcome(lambda: protobuf_codec.decode_response(data))
    outcome(lambda: protobuf_codec.decode_stream_response(data)[1])
    if len(data) > NATIVE_UP_TO:
        return
    same(found, outcome(lambda: protobuf_codec.decode_response(data)), "a message read again means the same")
    if found[0] == "taken":
        _again(
            found, lambda typed: protobuf_codec.encode_response(found[1], typed=typed), protobuf_codec.decode_response
        )
        streamed = protobuf_codec.encode_stream_response(found[1])
        again = outcome(lambda: protobuf_codec.decode_stream_response(streamed)[1])
        same(found, again, "a reply in a stream means what it means alone")


def _again(found: Outcome, encode: Callable[[bool], bytes], decode: Callable[[bytes], Any]) -> None:
    for typed in (False, True):
        if typed and not all(tensor.datatype.json for tensor in tensors_of(found[1])):
            continue
        written = encode(typed)

        def read(written: bytes = written) -> Any:
            message = decode(written)
            message.parameters.pop(protobuf_codec.TYPED_OUTPUTS, None)
            return message

        found[1].parameters.pop(protobuf_codec.TYPED_OUTPUTS, None)
        same(found, outcome(read), f"what was read is written {'typed' if typed else 'raw'}, and read again")


class _cut_from:
    """Messages from this size on are cut by hand."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> None:
        self._kept = protobuf_codec._SPLIT_FROM, protobuf_codec._DECODED_REQUESTS
        protobuf_codec._SPLIT_FROM = self._size
        protobuf_codec._DECODED_REQUESTS = type(self._kept[1])(protobuf_codec._RAW_INPUT_KEY)

    def __exit__(self, *_: object) -> None:
        protobuf_codec._SPLIT_FROM, protobuf_codec._DECODED_REQUESTS = self._kept


def _control(kind: Any, data: bytes) -> None:
    """A message of the control plane becomes JSON and comes back."""
    try:
        message = kind.FromString(data)
    except DecodeError:
        return
    message.DiscardUnknownFields()
    document = proto_json.to_object(message)
    again = proto_json.from_object(document, kind())
    demand(again == message, "a message of the control plane survives its JSON")


def raw_bytes(data: bytes) -> None:
    """A raw BYTES tensor of any bytes and a shape of their number is read or refused, the same by either reader."""
    count, raw = (data[0] if data else 0), data[1:]
    outcome(lambda: Tensor.from_raw("x", "BYTES", [count], raw).array)


def control_json(data: bytes) -> None:
    """A JSON body of the control plane is a message or a refusal."""
    for kind in (pb.RepositoryModelLoadRequest, pb.RepositoryIndexRequest):
        found = outcome(lambda kind=kind: proto_json.from_object(json_unread.read_control(data), kind()))
        if found[0] == "taken":
            proto_json.to_object(found[1], complete=True)


_JSON_TOKENS = (
    b'"inputs"', b'"outputs"', b'"name"', b'"datatype"', b'"shape"', b'"data"', b'"parameters"', b'"id"', b'"x"', b'"model"',
    b'"binary_data_size"', b'"binary_data"', b'"binary_data_output"', b'"model_name"', b'"FP32"', b'"FP64"', b'"BYTES"', b'"FP16"',
    b'"INT64"', b'"INT8"', b'"UINT64"', b'"BOOL"', b'"requests"', b'"label"', b'"note"', b'"upstream"', b'"instances"', b'"b64"',
    b"{", b"}", b"[", b"]", b":", b",", b"[]", b"{}", b"[[0]]", b"null", b"true", b"false", b"NaN", b"Infinity", b"-Infinity",
    b"1e999", b"-0.0", b"0.1234567890123456789", b"18446744073709551616", b'"\\ud800"', b'"\\u0000"', b"\\u00e4", b" ", b"\n",
    "한".encode(), b"\xff", b"\0", b'"', b"\\", b'\\"', b"[1.25,2.5,3.75,4.5,5.25,6.125]", b'["a","bbbbbbbbbbbb","cc"]',
)  # fmt: skip
_ONE = b'{"inputs":[{"name":"x","datatype":"%b","shape":[%b],"data":[%b]}]}'
_LONG = b",".join(b"%d.5" % i for i in range(80))
_SHARED = b'"parameters":{"shared_memory_region":"r","shared_memory_byte_size":4}'
_JSON_SEEDS = (
    _ONE % (b"FP32", b"4", b"1,2.5,-3e2,NaN"),
    _ONE % (b"FP64", b"2,2", b"[1,2],[3,null]"),
    _ONE % (b"FP32", b"80", _LONG),
    _ONE % (b"FP64", b"2,40", b"[" + b",".join(b"%d.25" % i for i in range(40)) + b"],[" + _LONG[:0] + b",".join([b"1e-7"] * 40) + b"]"),
    _ONE % (b"BYTES", b"3", b'"a","\\u00e4\\ud83d\\ude00","long text that is longer than eight"'),
    _ONE % (b"BYTES", b"40", b",".join(b'"%d"' % i for i in range(40))),
    _ONE % (b"BOOL", b"60", b",".join([b"true", b"false"] * 30)),
    _ONE % (b"INT64", b"30", b",".join(b"%d" % (2**63 - 1 - i) for i in range(30))),
    (b'{"id":"7","parameters":{"p":1,"q":"t","timeout":5},"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[-128]},'
    b'{"name":"y","shape":[0],"datatype":"FP32","data":[]}],"outputs":[{"name":"z","parameters":{"binary_data":true}}]}'),
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[],"data":1}]}',
    b'{"inputs":[],"z":' + b"[" * 120 + b"NaN" + b"]" * 120 + b"}",
    b'{"inputs":[],"z":' + b"[" * 3000 + b"NaN" + b"]" * 3000 + b"}",
    b'{"inputs":[],"z":' + b"[" * 3000 + b"1" + b"]" * 3000 + b"}",
    b'{"inputs":[],"z":[NaN,' + b"1" * 5000 + b"]}",
    b'{"inputs":[],"z":[NaN,1e999]}',
    b'{"inputs":[],"z":[NaN,"\\ud800"]}',
    b'{"inputs":[],"z":[NaN,"\xff"]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,2],[3]]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1e39]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":"a"}]}',
    b'{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":["a"]}]}',
    b'{"inputs":[{"name":"x","shape":[1],"data":[1]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","data":[1]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1]}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],"parameters":{"binary_data_size":4}}]}',
    b'{"inputs":[],"outputs":7}', b'{"inputs":[],"outputs":[7]}', b'{"inputs":[],"parameters":7}', b'{"inputs":[],"id":7}',
    b'{"inputs":[],"parameters":{"a":[]}}', b'{"inputs":[],"parameters":{"a":99999999999999999999}}', b"7", b"", b'{"inputs":7}',
    b'{"inputs":[],"parameters":{"binary_data_output":7}}', b'{"inputs":[7]}', b'{"inputs":[{}]}',
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[0],"parameters":{"binary_data_size":0}}]}',
    b'{"inputs":[{"name":"x","datatype":"UINT8","shape":[1],"data":[1],"parameters":{"shared_memory_region":"r"}}]}',
    b'{"model_name":"m","inputs":[],"parameters":{"a":-9223372036854775809}}',
    _ONE % (b"FP32", b"2,2", b"[1,2],[3]"), _ONE % (b"FP32", b"2", b"[1],[2]"), _ONE % (b"FP16", b"1", b"1"),
    _ONE % (b"BF16", b"80", _LONG), _ONE % (b"FP32", b"2,2", b"1,2,3,[4]"), _ONE % (b"FP32", b"3", b"[[1],2,3]"),
    b'{"inputs":[{"name":"x","datatype":"FP32","shape":[80],"data":[' + _LONG + b']}],"other":[' + _LONG + b"]}",
    b'{"other":[' + _LONG + b'],"inputs":[{"name":"x","datatype":"FP32","shape":[80],"data":[' + _LONG + b"]}]}",
    _SHARED.join((b'{"outputs":[{"name":"y",', b'}],"inputs":[{"name":"x","datatype":"FP32","shape":[1],', b"}]}")),
)  # fmt: skip
_JSON_REPLIES = tuple(
    seed.replace(b'"outputs"', b'"asked"').replace(b'"inputs"', b'"model_name":"m","model_version":"1","outputs"')
    for seed in _JSON_SEEDS
)
_V1_SEEDS = (
    b'{"instances":[1.5,2.5]}', b'{"instances":[[1,2],[3,4]]}', b'{"instances":[{"x":1},{"x":2}]}', b'{"inputs":[[1],[2]]}',
    b'{"instances":[{"x":1,"text":"a","flag":true,"n":5},{"x":2,"text":{"b64":"AAE="},"flag":false,"n":-5}]}',
    b'{"inputs":{"x":[1],"text":[{"b64":"AA=="}]}}', b'{"instances":[{"b64":"AAE="}]}',
    b'{"instances":[{"x":1,"text":{"b64":"?"},"flag":true,"n":5}]}', b'{"instances":[{"x":1,"text":{"b64":7},"flag":true,"n":5}]}',
    b'{"instances":[{"x":1,"text":"a","flag":true,"n":' + b"[" * 40 + b"5" + b"]" * 40 + b"}]}",
    b'{"instances":[' + b",".join([b"[0.125,2,-1e30]"] * 30) + b"]}", b'{"inputs":[' + b"1.5," * 90 + b"null]}",
    b'{"instances":[' + b",".join([b'{"x":[0.125,2,-1e30,7],"text":["one","\xc3\xa9","three"]}'] * 6) + b"]}",
    b'{"inputs":{"x":[' + b"1.5," * 90 + b'1],"flag":[true,false,true,false],"n":[1,2,3,4,5,6,7,8,9]}}',
    b'{"instances":[' + b",".join([b'{"x":[0.125,2,-1e30,7],"n":5}'] * 9) + b',{"x":5,"n":[0,1,2,3,4,5,6,7,8]}]}',
    b'{"a":[0.125,0.125,0.125,0.125],"instances":[' + b'["one","two","three"],' * 12 + b'["one","two","three"]]}',
)  # fmt: skip
_API_UNITS = [
    lambda size: (
        b'{"model":"m","inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[%b1]}]}' % (b"1.5," * (size // 4))
    ),
    lambda size: b'{"model":"m","inputs":[{"name":"x","data":[%b1]}],}' % (b"1.5," * (size // 4)),
    lambda size: b'{"model":"m","inputs":[{"name":"x","data":[[0]]}],"note":"%b"}' % (b"a" * size),
    lambda size: b'{"data":[%b1],"inputs":[{"data":[[0]]}]}' % (b"1.5," * (size // 4)),
]
_API_SEEDS = (
    b'{"requests":[]}',
    b'{"requests":[7]}',
    b'{"requests":[],"model":"m"}',
    b"7",
    b"",
    b"[" * 3000,
    b'{"model":"m","inputs":[],"label":[]}',
    b'{"model":"m","inputs":[],"label":"a\\u0000"}',
    b'{"model":"m","inputs":[],"parameters":{"a":[]}}',
    b'{"model":"m","inputs":7}',
    b'{"model":"a/b","inputs":[{"name":"x","data":[1]}]}',
    b'{"model":"m","label":"' + b"a" * 300 + b'","inputs":[{"name":"x","data":[1]}]}',
    b'{"model":"m","inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1]}]}',
    b'{"model":"digits","inputs":[{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}],"label":3,"note":"n"}',
    b'{"model":"m","version":"2","upstream":"grpc","inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":["a"]}]}',
    b'{"requests":[{"model":"a","inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1]}]},{"model":"b","inputs":[]}]}',
    b'{"model":"m","inputs":[{"name":"x","data":[[0.5,1],[2,3]]}],"outputs":["y"],"parameters":{"a":1}}',
)


def _binary_seed(head: bytes, tail: bytes) -> bytes:
    return len(head).to_bytes(4, "little") + head + tail


_BINARY_HEAD = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}}]}'
_BINARY_SEEDS = (
    _binary_seed(_BINARY_HEAD, bytes(8)),
    _binary_seed(_BINARY_HEAD.replace(b"]}", b',{"name":"y","datatype":"INT8","shape":[1],"data":[1]}]}'), bytes(8)),
    _binary_seed(
        b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":10}}]}',
        b"\1\0\0\0a\1\0\0\0b",
    ),
    _binary_seed(
        b'{"id":"a","parameters":{"binary_data_output":true},'
        b'"inputs":[{"name":"x","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}}]}',
        b"\0\x3c",
    ),
    _binary_seed(_JSON_SEEDS[0], b""),
)
_BINARY_REPLIES = tuple(
    _binary_seed(seed[4 : 4 + int.from_bytes(seed[:4], "little")].replace(b'"inputs"', b'"model_name":"m","outputs"'),
                 seed[4 + int.from_bytes(seed[:4], "little") :]) for seed in _BINARY_SEEDS
)  # fmt: skip


def _with_regions(tensors: list[Tensor], shared: tuple[int, ...], raws: str) -> bytes:
    """A request of which the inputs at `shared` lie in shared memory, with raw contents for all, the others or none."""
    message = pb.ModelInferRequest.FromString(protobuf_codec.encode_request(InferRequest("m", tensors)))
    for at in shared:
        message.inputs[at].parameters["shared_memory_region"].string_param = "r"
        message.inputs[at].parameters["shared_memory_byte_size"].int64_param = 8
    kept = {"all": range(len(tensors)), "others": [at for at in range(len(tensors)) if at not in shared], "none": ()}[
        raws
    ]
    contents = [message.raw_input_contents[at] for at in kept]
    del message.raw_input_contents[:]
    message.raw_input_contents.extend(contents)
    return message.SerializeToString()


def _sized(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def _field(key: int, data: bytes) -> bytes:
    return bytes([key]) + _sized(data)


def _messages() -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    arrays: list[tuple[str, Any]] = [
        ("FP32", np.arange(6, dtype="f4").reshape(2, 3)), ("INT64", np.array([-1, 2**62])), ("BOOL", np.array([True, False])),
        ("BYTES", np.array([b"a", b"", b"ccc"], object)), ("UINT8", np.array([1, 255], "u1")), ("FP64", np.array([1e300])),
    ]  # fmt: skip
    requests, replies = [], []
    for kind, array in arrays:
        tensor = Tensor.from_array(kind, array)
        for typed in (False, True):
            requests.append(protobuf_codec.encode_request(InferRequest("m", [tensor], "1"), typed=typed))
            replies.append(protobuf_codec.encode_response(InferResponse("m", "1", [tensor]), typed=typed))
    both = [Tensor.from_array(kind, array) for kind, array in arrays]
    more = {"a": 1, "b": True, "c": "t", "d": 1.5, "e": 2**64 - 1}
    requests.append(protobuf_codec.encode_request(InferRequest("m", both, "", "id", [], more)))
    requests.append(
        pb.ModelInferRequest(
            model_name="m",
            inputs=[
                pb.ModelInferRequest.InferInputTensor(
                    name="x", datatype="INT32", shape=[3], contents=pb.InferTensorContents(int_contents=[1, -2, 3])
                )
            ],
            outputs=[pb.ModelInferRequest.InferRequestedOutputTensor(name="y")],
        ).SerializeToString()
    )
    replies.append(protobuf_codec.encode_response(InferResponse("m", "1", both, "id", more)))
    replies.append(protobuf_codec.encode_stream_response(InferResponse("m", "1", both[:1])))
    requests += [
        _with_regions(both, shared, raws) for shared in ((), (0,), (1, 3)) for raws in ("all", "others", "none")
    ]
    requests.append(
        pb.ModelInferRequest(
            model_name="m",
            inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP16", shape=[1])],
        ).SerializeToString()
    )
    requests += [  # contents of one field that is no such field: cut short, no varints, not of whole elements
        b"\x0a\x01m" + _field(0x2A, b"\x0a\x01x\x12" + _sized(kind) + b"\x1a\x01\x03" + _field(0x2A, contents))
        for kind in (b"INT32", b"INT64", b"UINT64", b"FP32", b"BOOL", b"BYTES", b"UINT8")
        for tag in (0x0A, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x3A, 0x42)
        for contents in (bytes([tag, 0x80]), bytes([tag, 3, 0x80, 0x80, 0x80]), bytes([tag, 12]) + b"\x81" * 11 + b"\1",
                         bytes([tag, 3, 1, 2, 3]), bytes([tag, 30]) + (b"\xff" * 9 + b"\1") * 3)
    ]  # fmt: skip
    replies.append(b"\x12\x80")  # a stream's reply whose size is cut short
    load = pb.RepositoryModelLoadRequest(model_name="m")
    load.parameters["config"].string_param = "{}"
    load.parameters["file:1/model.onnx"].bytes_param = b"\0\1"
    requests.append(load.SerializeToString())
    return tuple(requests), tuple(replies)


_PROTOBUF_TOKENS = (
    b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a", b"\x32", b"\x3a", b"\x42", b"\x08", b"\x10", b"\x18", b"\x35", b"\x3d", b"\x78",
    b"\x80\x01", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\0\0\0\0", b"FP32", b"BYTES", b"INT64", b"BOOL",
    b"\x1a\x02\x02\x03", b"\x3a\x04abcd", b"\x2a\x00", b"\x0b", b"\x0c",
)  # fmt: skip
_REQUESTS, _REPLIES = _messages()


def _large_messages() -> list[Callable[[int], bytes]]:
    """Tensors of every kind that are cut out of their message by hand, raw and typed."""

    def make(array: np.ndarray, typed: bool, size: int) -> bytes:
        whole = np.resize(array, max(1, size // 8))
        return protobuf_codec.encode_request(InferRequest("m", [Tensor.from_array("x", whole)]), typed=typed)

    kinds = [np.array([1, -1, 2**40]), np.array([1, 300], "u4"), np.array([0.5], "f4"), np.array([0.5]), np.array([True, False]),
             np.array([-1, 7], "i1"), np.array([b"a", b"bb"], object)]  # fmt: skip
    return [partial(make, array, typed) for array in kinds for typed in (False, True)]


_JSON_MODULES = (json_codec, json_text, json_values, json_elements, json_templates, json_unread)
_PROTOBUF_MODULES = (
    protobuf_codec,
    protobuf_contents,
    protobuf_templates,
    protobuf_parameters,
    protobuf_varints,
    protobuf_wire,
)
_BINARY_MODULES = (binary_codec, binary_templates)

TARGETS = [
    Target("json-request", json_request, _JSON_MODULES, _JSON_TOKENS, _JSON_SEEDS, units=[one.make for one in hostile.json_shapes()]),
    Target("json-response", json_response, _JSON_MODULES, _JSON_TOKENS, _JSON_REPLIES),
    Target("v1", v1_body, (v1,), _JSON_TOKENS, _V1_SEEDS, units=[one.make for one in hostile.V1_REQUESTS.values()]),
    Target("api", api_document, (bodies, orders), _JSON_TOKENS, _API_SEEDS, units=_API_UNITS),
    Target("binary-request", binary_request, _BINARY_MODULES, _JSON_TOKENS, _BINARY_SEEDS),
    Target("binary-response", binary_response, _BINARY_MODULES, _JSON_TOKENS, _BINARY_REPLIES),
    Target("raw-request", raw_request, _BINARY_MODULES, (), (bytes(8), bytes(16), b"\1", b"")),
    Target("raw-bytes", raw_bytes, (), (), (b"\2\1\0\0\0a\1\0\0\0b", b"\1\xff\xff\xff\xff")),
    Target("protobuf-request", protobuf_request, _PROTOBUF_MODULES, _PROTOBUF_TOKENS, _REQUESTS,
           units=[*hostile.PROTOBUF_REQUESTS.values(), *_large_messages()]),
    Target("protobuf-response", protobuf_response, _PROTOBUF_MODULES, _PROTOBUF_TOKENS, _REPLIES),
    Target("control-json", control_json, (proto_json, json_text), (*_JSON_TOKENS, b'"config"', b'"int64_param"', b'"ready"'), (
        b'{"parameters":{"config":{"string_param":"{}"},"n":{"int64_param":1}}}', b'{"ready":true}', b'{"model_name":"m"}', b"",
        b'{"a":[' + b"1," * 20000 + b"1]}",
    )),
]  # fmt: skip
