"""The data plane's messages as protobuf bytes, raw and typed (OIP: ModelInferRequest, ModelInferResponse).

Raw contents are what costs, so a large message's tensors are never copied by protobuf: its head is made by the library
and the raw fields are joined to it by hand, and on the way in they are cut out as views before the head is parsed.
Bytes made so parse to the same message; a property test holds that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError

from protocol.datatypes import DATATYPES, Datatype, datatype
from protocol.errors import Code, InferenceError, invalid
from protocol.messages import InferRequest, InferResponse, Parameters, ParameterValue, RequestedOutput
from protocol.tensors import Buffer, Shape, Tensor, checked_shape
from protos import inference as pb

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPED_OUTPUTS = "typed_outputs"
"""Request parameter by which our typed client asks for typed replies; everybody else gets raw ones."""

_RAW_INPUT_TAG = bytes([7 << 3 | 2])
_RAW_OUTPUT_TAG = bytes([6 << 3 | 2])
_STREAM_RESPONSE_TAG = bytes([2 << 3 | 2])
_SPLIT_FROM = 32 * 1024
"""Messages from this size on are cut by hand; below it the library alone is quicker."""
_CONTENTS = sorted({row.contents for row in DATATYPES.values() if row.contents})
_INT64 = range(-(2**63), 2**63)


def encode_request(request: InferRequest, *, typed: bool = False) -> bytes:
    """ModelInferRequest bytes; `typed` puts elements into typed contents and asks for the same in the reply."""
    head = pb.ModelInferRequest(
        model_name=request.model_name, model_version=request.model_version, id=request.id,
        outputs=[_requested(output) for output in request.outputs],
    )  # fmt: skip
    if request.parameters:
        set_parameters(head.parameters, request.parameters)
    if typed:
        head.parameters[TYPED_OUTPUTS].bool_param = True
    return b"".join(_with_tensors(head, head.inputs, request.inputs, _RAW_INPUT_TAG, typed))


def encode_response(response: InferResponse, *, typed: bool = False) -> bytes:
    """ModelInferResponse bytes, raw unless `typed`."""
    return b"".join(_response_parts(response, typed))


def encode_stream_response(response: InferResponse, *, typed: bool = False) -> bytes:
    """ModelStreamInferResponse bytes with the response in it."""
    parts = _response_parts(response, typed)
    return b"".join((_STREAM_RESPONSE_TAG, varint(sum(map(len, parts))), *parts))


def decode_stream_response(data: Buffer) -> tuple[str, InferResponse]:
    """The error text (empty when there is none) and the response of a ModelStreamInferResponse."""
    view = memoryview(data)
    if view and view[0] == _STREAM_RESPONSE_TAG[0]:
        try:
            size, at = _read_varint(view, 1)
        except IndexError:
            raise invalid("the message is not a ModelStreamInferResponse") from None
        if at + size == len(view):
            return "", decode_response(view[at:])
    message, _ = _split(bytes(data), pb.ModelStreamInferResponse, 0)
    return message.error_message, response_of(message.infer_response, message.infer_response.raw_output_contents)


def _response_parts(response: InferResponse, typed: bool) -> list[Buffer]:
    head = pb.ModelInferResponse(model_name=response.model_name, model_version=response.model_version, id=response.id)
    if response.parameters:
        set_parameters(head.parameters, response.parameters)
    return _with_tensors(head, head.outputs, response.outputs, _RAW_OUTPUT_TAG, typed)


def _requested(output: RequestedOutput) -> pb.ModelInferRequest.InferRequestedOutputTensor:
    made = pb.ModelInferRequest.InferRequestedOutputTensor(name=output.name)
    set_parameters(made.parameters, output.parameters)
    return made


def _with_tensors(head: Any, entries: Any, tensors: Sequence[Tensor], tag: bytes, typed: bool) -> list[Buffer]:
    for tensor in tensors:
        entry = entries.add(name=tensor.name, datatype=tensor.datatype.name, shape=tensor.shape)
        if typed:
            _set_contents(entry.contents, tensor)
    if typed:
        return [head.SerializeToString()]
    parts: list[Buffer] = [head.SerializeToString()]
    for tensor in tensors:
        raw = tensor.raw
        parts += (tag, varint(len(raw)), raw)
    return parts


def varint(value: int) -> bytes:
    """Protobuf's base-128 form of an unsigned integer."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _set_contents(contents: pb.InferTensorContents, tensor: Tensor) -> None:
    row = tensor.datatype
    if row.contents is None:
        raise InferenceError(
            Code.NOT_CARRIED, f"'{tensor.name}' is {row.name}, which typed contents do not carry; use raw contents"
        )
    field = getattr(contents, row.contents)
    if row.kind == "bytes" or row.kind == "bool":
        field.extend(tensor.array.ravel().tolist())
    else:
        # a memoryview hands out numbers several times quicker than a numpy array does, but only aligned ones; views on a
        # wire's bytes start anywhere
        field.extend(np.require(tensor.array, requirements=("C", "A")).reshape(-1).data)


def decode_request(data: Buffer) -> InferRequest:
    """An InferRequest from ModelInferRequest bytes; INVALID_ARGUMENT when they break a rule of OIP 1.5."""
    head, raws = _split(data, pb.ModelInferRequest, 7)
    return InferRequest(
        head.model_name,
        _tensors(head.inputs, raws or head.raw_input_contents, "input"),
        head.model_version,
        head.id,
        [RequestedOutput(output.name, parameters_of(output.parameters)) for output in head.outputs],
        parameters_of(head.parameters) if head.parameters else {},
    )


def decode_response(data: Buffer) -> InferResponse:
    """An InferResponse from ModelInferResponse bytes."""
    head, raws = _split(data, pb.ModelInferResponse, 6)
    return response_of(head, raws or head.raw_output_contents)


def response_of(head: pb.ModelInferResponse, raws: Sequence[Buffer]) -> InferResponse:
    return InferResponse(
        head.model_name,
        head.model_version,
        _tensors(head.outputs, raws, "output"),
        head.id,
        parameters_of(head.parameters) if head.parameters else {},
    )


def _split(data: Buffer, message: Any, raw_field: int) -> tuple[Any, list[Buffer]]:
    """The parsed head, and views of the raw fields when the message is large enough to be worth cutting."""
    try:
        if len(data) < _SPLIT_FROM:
            return message.FromString(bytes(data) if isinstance(data, memoryview) else data), []
        head, raws = _cut(memoryview(data), raw_field)
        return message.FromString(head), raws
    except (DecodeError, IndexError, ValueError):
        raise invalid(f"the message is not a {message.DESCRIPTOR.full_name}: it can't be decoded as protobuf") from None


def _cut(view: memoryview, raw_field: int) -> tuple[bytes, list[Buffer]]:
    """Walk the top-level fields: raw ones become views, the rest is joined again."""
    heads: list[memoryview] = []
    raws: list[Buffer] = []
    at, end = 0, len(view)
    while at < end:
        start = at
        tag, at = _read_varint(view, at)
        wire = tag & 7
        if wire == 2:
            size, at = _read_varint(view, at)
            stop = at + size
        elif wire == 0:
            size, stop = 0, _read_varint(view, at)[1]
        else:
            size, stop = 0, at + {1: 8, 5: 4}[wire] if wire in {1, 5} else end + 1
        if stop > end:
            raise ValueError
        if tag == raw_field << 3 | 2:
            raws.append(view[at:stop])
        else:
            heads.append(view[start:stop])
        at = stop
    return b"".join(heads), raws


def _read_varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError


def _tensors(entries: Sequence[Any], raws: Sequence[Buffer], what: str) -> list[Tensor]:
    if not raws:
        return [_typed_tensor(entry, what) for entry in entries]
    for entry in entries:
        if entry.HasField("contents"):
            raise invalid(
                f"contents field must not be specified when using raw_{what}_contents for {what} '{entry.name}'"
            )
    if len(raws) != len(entries):
        raise invalid(
            f"expected {len(entries)} raw_{what}_contents, one for each {what}, but got {len(raws)}; "
            "send either all inputs raw or none"
        )
    return [
        Tensor.from_raw(entry.name, entry.datatype, tuple(entry.shape), raw)
        for entry, raw in zip(entries, raws, strict=True)
    ]


def _typed_tensor(entry: Any, what: str) -> Tensor:
    row = datatype(entry.datatype)
    shape = checked_shape(entry.name, entry.shape)
    count = math.prod(shape)
    filled = [name for name in _CONTENTS if len(getattr(entry.contents, name))]
    if row.contents is None:
        raise invalid(f"{what} '{entry.name}' is {row.name}; it is carried by raw_{what}_contents only")
    if any(name != row.contents for name in filled):
        raise invalid(
            f"{what} '{entry.name}' of {row.name} takes its elements in {row.contents}, but has {', '.join(filled)}"
        )
    field = getattr(entry.contents, row.contents)
    if len(field) != count:
        raise invalid(
            f"{what} '{entry.name}' has {len(field)} elements in {row.contents}, but shape {list(shape)} takes {count}"
        )
    return Tensor(entry.name, row, shape, array=_array(entry.name, row, field, shape))


def _array(name: str, row: Datatype, field: Any, shape: Shape) -> NDArray[Any]:
    if row.kind == "bytes":
        made = np.empty(len(field), dtype=object)
        made[:] = list(field)
        return made.reshape(shape)
    if row.kind != "int" or row.itemsize >= 4:
        return np.asarray(field, dtype=row.dtype).reshape(shape)
    wide = np.asarray(field, dtype=np.int64)
    if wide.size and (wide.min() < row.low or wide.max() > row.high):
        outside = wide[(wide < row.low) | (wide > row.high)][0]
        raise invalid(f"'{name}' holds {outside}, outside the {row.low} to {row.high} of {row.name}")
    return wide.astype(row.dtype).reshape(shape)


_PARAMETER_FIELDS = ((bool, "bool_param"), (str, "string_param"), (float, "double_param"))


def set_parameters(target: Any, parameters: Mapping[str, ParameterValue]) -> None:
    """Fill a map<string, InferParameter>."""
    for name, value in parameters.items():
        if isinstance(value, int) and not isinstance(value, bool):
            _set_integer(target[name], name, value)
            continue
        for kind, field in _PARAMETER_FIELDS:
            if isinstance(value, kind):
                setattr(target[name], field, value)
                break
        else:
            raise invalid(f"parameter '{name}' is {type(value).__name__}; it takes a string, a number or a boolean")


def _set_integer(parameter: pb.InferParameter, name: str, value: int) -> None:
    if value in _INT64:
        parameter.int64_param = value
    elif 0 <= value < 2**64:
        parameter.uint64_param = value
    else:
        raise invalid(f"parameter '{name}' is {value}, which 64 bits do not hold")


def parameters_of(found: Mapping[str, Any]) -> Parameters:
    """A map<string, InferParameter> as plain values; parameters without a value are left out."""
    return {name: getattr(value, choice) for name, value in found.items() if (choice := _choice(value)) is not None}


def _choice(value: Any) -> str | None:
    return value.WhichOneof("parameter_choice")


def repository_parameters(found: Mapping[str, Any]) -> dict[str, ParameterValue | bytes]:
    """A map<string, ModelRepositoryParameter> as plain values."""
    return {name: getattr(value, choice) for name, value in found.items() if (choice := _choice(value)) is not None}


def set_repository_parameters(target: Any, parameters: Mapping[str, ParameterValue | bytes]) -> None:
    fields: Iterable[tuple[type, str]] = (
        (bool, "bool_param"), (int, "int64_param"), (str, "string_param"), (bytes, "bytes_param"),
    )  # fmt: skip
    for name, value in parameters.items():
        for kind, field in fields:
            if isinstance(value, kind):
                setattr(target[name], field, value)
                break
        else:
            raise invalid(
                f"parameter '{name}' is {type(value).__name__}; it takes a string, bytes, an integer or a boolean"
            )
