"""The data plane's messages as protobuf bytes, raw and typed (OIP: ModelInferRequest, ModelInferResponse).

Copies of raw contents are the main cost, so protobuf never copies a large message's tensors: the library encodes the head,
and the tensors' fields are appended by hand; on the way in they are cut out as views before the head is parsed. A property
test checks that the bytes parse to the same message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from crossover.protocol.codecs import shared_memory
from crossover.protocol.codecs.protobuf import contents as protobuf_contents
from crossover.protocol.codecs.protobuf.parameters import (
    CALL_TAGS,
    call_fields,
    choice_of,
    merged,
    parameters_of,
    read_call_fields,
    set_parameters,
)
from crossover.protocol.codecs.protobuf.templates import VIEWED_FROM, DecodedTemplates, EncodedTemplates
from crossover.protocol.codecs.protobuf.wire import (
    MOST_FIELDS,
    content_of,
    cut,
    delimited,
    first,
    key,
    read_varint,
    varint,
)
from crossover.protocol.errors import InferenceError, invalid
from crossover.protocol.limits import MAX_PARAMETERS, MAX_TENSORS, check_count, is_heavy
from crossover.protocol.messages import (
    InferRequest,
    InferResponse,
    ParameterValue,
    RequestedOutput,
    SharedTensors,
)
from crossover.protocol.names import MOST_NAME_CHARS
from crossover.protocol.tensors import MAX_RANK, Buffer, Tensor
from crossover.protos import inference as pb

TYPED_OUTPUTS = "typed_outputs"
"""Request parameter by which our typed client asks for typed replies; other clients get raw ones."""

_ID_FIELD = 3
_RAW_INPUT_FIELD, _RAW_OUTPUT_FIELD = 7, 6
_RAW_INPUT_KEY, _RAW_OUTPUT_KEY = key(_RAW_INPUT_FIELD), key(_RAW_OUTPUT_FIELD)
_TENSOR_KEY = key(5)
"""Tag of a request's inputs and of a response's outputs."""
CONTENTS_FIELD = 5
_CONTENTS_KEY = key(CONTENTS_FIELD)
"""Tag of `contents` in either."""
_SHAPE_KEY = key(3)
"""Tag of a tensor's packed shape."""
_MOST_SHAPE_BYTES = 10 * MAX_RANK
"""A dimension is a varint of ten bytes at most."""
_MESSAGE_TAGS = frozenset((key(4)[0], _TENSOR_KEY[0], key(6)[0]))
"""Tags of a message's parameters, tensors and requested outputs; other length-delimited fields may hold no message."""
_STREAM_RESPONSE_KEY = key(2)
_SPLIT_FROM = 32 * 1024
"""Messages from this size on are cut by hand; below it the library alone is quicker."""
_ENCODED_REQUESTS, _ENCODED_RESPONSES = EncodedTemplates(), EncodedTemplates()
_DECODED_REQUESTS: DecodedTemplates[InferRequest] = DecodedTemplates(_RAW_INPUT_KEY)
_DECODED_RESPONSES: DecodedTemplates[InferResponse] = DecodedTemplates(_RAW_OUTPUT_KEY)


def encode_request(request: InferRequest, *, typed: bool = False) -> bytes:
    """ModelInferRequest bytes; `typed` puts elements into typed contents and asks for the same in the reply."""
    if len(request.inputs) != 1 or typed or request.outputs:
        return _encoded_request(request, typed)
    tensor = request.inputs[0]
    key = _template_key(request.model_name, request.model_version, tensor)
    head = _ENCODED_REQUESTS.get(key)
    if head is None:
        alike = _encoded_request(InferRequest(request.model_name, request.inputs, request.model_version), typed)
        head = _ENCODED_REQUESTS.keep(key, alike, tensor.nbytes)
    if not (request.id or request.parameters):
        return b"".join((head, tensor.raw))
    try:
        return b"".join((call_fields(request.id, request.parameters), head, tensor.raw))
    except UnicodeEncodeError:
        raise _half_surrogate() from None


def _encoded_request(request: InferRequest, typed: bool) -> bytes:
    try:
        head = pb.ModelInferRequest(
            model_name=request.model_name, model_version=request.model_version, id=request.id,
            outputs=[_requested(output) for output in request.outputs],
        )  # fmt: skip
        if request.parameters:
            set_parameters(head.parameters, request.parameters)
        if typed:
            head.parameters[TYPED_OUTPUTS].bool_param = True
        return b"".join(_with_tensors(head, head.inputs, request.inputs, _RAW_INPUT_KEY, typed))
    except UnicodeEncodeError:
        raise _half_surrogate() from None


def _half_surrogate() -> InferenceError:
    return invalid("a name or text in the request holds a lone surrogate; it takes Unicode text")


def encode_response(response: InferResponse, *, typed: bool = False) -> bytes:
    """ModelInferResponse bytes, raw unless `typed`."""
    return b"".join(_response_parts(response, typed))


def _response_parts(response: InferResponse, typed: bool) -> Sequence[Buffer]:
    if len(response.outputs) != 1 or typed or response.shared:
        return _encoded_response(response, typed)
    tensor = response.outputs[0]
    key = _template_key(response.model_name, response.model_version, tensor)
    head = _ENCODED_RESPONSES.get(key)
    if head is None:
        alike = InferResponse(response.model_name, response.model_version, response.outputs)
        head = _ENCODED_RESPONSES.keep(key, b"".join(_encoded_response(alike, typed)), tensor.nbytes)
    if not (response.id or response.parameters):
        return head, tensor.raw
    return call_fields(response.id, response.parameters), head, tensor.raw


def _template_key(name: str, version: str, tensor: Tensor) -> tuple[object, ...]:
    """Everything that the head of a message with this one raw tensor depends on."""
    return name, version, tensor.name, tensor.datatype.name, tensor.shape, tensor.nbytes


def encode_stream_response(response: InferResponse, *, typed: bool = False) -> bytes:
    """ModelStreamInferResponse bytes with the response in it."""
    return b"".join(delimited(_STREAM_RESPONSE_KEY, _response_parts(response, typed)))


def decode_stream_response(data: bytes) -> tuple[str, InferResponse]:
    """The error text (empty when there is none) and the response of a ModelStreamInferResponse."""
    view = memoryview(data)
    if data[:1] == _STREAM_RESPONSE_KEY:
        try:
            size, at = read_varint(view, 1)
        except (IndexError, ValueError):
            raise _undecodable(pb.ModelStreamInferResponse) from None
        if at + size == len(view):
            return "", decode_response(data[at:] if size < VIEWED_FROM else view[at:])
    try:
        message = pb.ModelStreamInferResponse.FromString(data)
    except DecodeError:
        raise _undecodable(pb.ModelStreamInferResponse) from None
    return message.error_message, _response_of(message.infer_response, message.infer_response.raw_output_contents, {})


def _encoded_response(response: InferResponse, typed: bool) -> list[Buffer]:
    head = pb.ModelInferResponse(model_name=response.model_name, model_version=response.model_version, id=response.id)
    if response.parameters:
        set_parameters(head.parameters, response.parameters)
    if not response.shared:
        return _with_tensors(head, head.outputs, response.outputs, _RAW_OUTPUT_KEY, typed)
    for tensor in response.outputs:
        entry = head.outputs.add(name=tensor.name, datatype=tensor.datatype.name, shape=tensor.shape)
        set_parameters(entry.parameters, response.shared.get(tensor.name, {}))
        head.raw_output_contents.append(bytes(tensor.raw))  # clients find theirs by the output's place
    return [head.SerializeToString()]


def _requested(output: RequestedOutput) -> pb.ModelInferRequest.InferRequestedOutputTensor:
    entry = pb.ModelInferRequest.InferRequestedOutputTensor(name=output.name)
    set_parameters(entry.parameters, output.parameters)
    return entry


def _with_tensors(head: Any, entries: Any, tensors: Sequence[Tensor], raw_key: bytes, typed: bool) -> list[Buffer]:
    if typed:
        return _with_contents(head, tensors)
    for tensor in tensors:
        entries.add(name=tensor.name, datatype=tensor.datatype.name, shape=tensor.shape)
    parts: list[Buffer] = [head.SerializeToString()]
    for tensor in tensors:
        raw = tensor.raw
        parts += (raw_key, varint(len(raw)), raw)
    return parts


def _with_contents(head: Any, tensors: Sequence[Tensor]) -> list[Buffer]:
    parts: list[Buffer] = [head.SerializeToString()]
    for tensor in tensors:
        # inputs and outputs have the same fields under the same numbers
        entry = pb.ModelInferRequest.InferInputTensor(
            name=tensor.name, datatype=tensor.datatype.name, shape=tensor.shape
        )
        contents = delimited(_CONTENTS_KEY, protobuf_contents.encode(tensor))
        parts += delimited(_TENSOR_KEY, [entry.SerializeToString(), *contents])
    return parts


def decode_request(data: Buffer) -> InferRequest:
    """An InferRequest from ModelInferRequest bytes; INVALID_ARGUMENT when they break a rule of OIP 1.5."""
    if data and data[0] in CALL_TAGS and (fields := read_call_fields(data)) is not None:
        identity, parameters, at = fields
        request = _request_in(data[at:] if len(data) < VIEWED_FROM else memoryview(data)[at:])
        request.id = request.id or identity
        request.parameters = merged(parameters, request.parameters)
        return request
    return _request_in(data)


def _request_in(data: Buffer) -> InferRequest:
    template = _DECODED_REQUESTS.find(data)
    if template is not None:
        return _request_like(*template)
    head, raws, contents = _split(data, pb.ModelInferRequest, _RAW_INPUT_FIELD)
    raws = raws or head.raw_input_contents
    check_count(head.outputs, MAX_TENSORS, "outputs")
    shared = {
        entry.name: shared_memory.take(parameters_of(entry.parameters), f"input '{entry.name}'")
        for entry in head.inputs
        if shared_memory.REGION in entry.parameters
    }
    outputs = [RequestedOutput(output.name, parameters_of(output.parameters)) for output in head.outputs]
    request = InferRequest(
        head.model_name,
        _tensors(head.inputs, raws, contents, "input") if not shared else _partly_shared(head.inputs, raws, contents),
        head.model_version,
        head.id,
        outputs,
        parameters_of(head.parameters) if head.parameters else {},
    )
    shared_outputs = shared_memory.take_outputs(outputs) if outputs else {}
    if shared or shared_outputs:
        request.shared = SharedTensors(shared, shared_outputs)
    elif len(raws) == 1 and not head.id:
        _DECODED_REQUESTS.learn(data, len(raws[0]), _request_like(request, b""))
    return request


def _partly_shared(entries: Sequence[Any], raws: Sequence[Buffer], contents: Mapping[int, Buffer]) -> list[Tensor]:
    """The inputs of a message of which some lie in shared memory; raw contents belong to the others, in their order."""
    check_count(entries, MAX_TENSORS, "inputs")
    here = [index for index, entry in enumerate(entries) if shared_memory.REGION not in entry.parameters]
    moved = {at: contents[index] for at, index in enumerate(here) if index in contents}
    if len(raws) == len(entries):
        raws = [raws[index] for index in here]
    tensors = iter(_tensors([entries[index] for index in here], raws, moved, "input"))
    return [
        shared_memory.placeholder(entry.name, entry.datatype, list(entry.shape))
        if shared_memory.REGION in entry.parameters
        else next(tensors)
        for entry in entries
    ]


def _request_like(template: InferRequest, raw: Buffer) -> InferRequest:
    """A request that differs from `template` in its one tensor's bytes."""
    tensor = template.inputs[0]
    return InferRequest(
        template.model_name,
        [Tensor(tensor.name, tensor.datatype, tensor.shape, raw=raw)],
        template.model_version,
        "",
        [RequestedOutput(output.name, dict(output.parameters)) for output in template.outputs],
        dict(template.parameters),
    )


def decode_response(data: Buffer) -> InferResponse:
    """An InferResponse from ModelInferResponse bytes."""
    if data and data[0] in CALL_TAGS and (fields := read_call_fields(data)) is not None:
        identity, parameters, at = fields
        response = _response_in(data[at:] if len(data) < VIEWED_FROM else memoryview(data)[at:])
        response.id = response.id or identity
        response.parameters = merged(parameters, response.parameters)
        return response
    return _response_in(data)


def _response_in(data: Buffer) -> InferResponse:
    template = _DECODED_RESPONSES.find(data)
    if template is not None:
        return _response_like(*template)
    head, raws, contents = _split(data, pb.ModelInferResponse, _RAW_OUTPUT_FIELD)
    raws = raws or head.raw_output_contents
    response = _response_of(head, raws, contents)
    if len(raws) == 1 and not head.id:
        _DECODED_RESPONSES.learn(data, len(raws[0]), _response_like(response, b""))
    return response


def _response_like(template: InferResponse, raw: Buffer) -> InferResponse:
    """A response that differs from `template` in its one tensor's bytes."""
    tensor = template.outputs[0]
    return InferResponse(
        template.model_name,
        template.model_version,
        [Tensor(tensor.name, tensor.datatype, tensor.shape, raw=raw)],
        "",
        dict(template.parameters),
    )


def _response_of(head: pb.ModelInferResponse, raws: Sequence[Buffer], contents: Mapping[int, Buffer]) -> InferResponse:
    return InferResponse(
        head.model_name,
        head.model_version,
        _tensors(head.outputs, raws, contents, "output"),
        head.id,
        parameters_of(head.parameters) if head.parameters else {},
    )


def _split(data: Buffer, message: Any, raw_field: int) -> tuple[Any, list[Buffer], dict[int, Buffer]]:
    """The parsed head, and for a large message views of the raw fields and of the typed contents by their tensor."""
    try:
        if len(data) < _SPLIT_FROM:
            return message.FromString(_as_bytes(data)), [], {}
        rest, raws = cut(memoryview(data), raw_field)
        head, contents = _without_contents(rest, MOST_FIELDS - len(rest) - len(raws))
        return message.FromString(b"".join(head) if raws or contents else _as_bytes(data)), raws, contents
    except (DecodeError, IndexError, ValueError):
        raise _undecodable(message) from None


def _without_contents(fields: Sequence[memoryview], most: int) -> tuple[list[Buffer], dict[int, Buffer]]:
    """The fields of a message with the large contents taken out of its tensors, and these by the tensor's index.

    Every field within a tensor, output or parameter counts to the `most` that there may be, since the library makes
    objects of dozens of bytes from the two that a field takes.
    """
    head: list[Buffer] = []
    contents: dict[int, Buffer] = {}
    index = 0
    for field in fields:
        if field[0] not in _MESSAGE_TAGS or len(field) < 3:
            head.append(field)
            index += field[:1] == _TENSOR_KEY
            continue
        rest, pieces = cut(content_of(field), CONTENTS_FIELD if field[:1] == _TENSOR_KEY else 0, max(0, most))
        most -= len(rest) + len(pieces)
        if field[:1] == _TENSOR_KEY:
            _check_shapes(rest)
        if sum(map(len, pieces)) >= _SPLIT_FROM:
            contents[index] = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            head += delimited(_TENSOR_KEY, rest)
        else:
            head.append(field)
        index += field[:1] == _TENSOR_KEY
    return head, contents


def _check_shapes(fields: Sequence[memoryview]) -> None:
    """INVALID_ARGUMENT for a shape that is too long: the library would make an integer of each byte of it."""
    for field in fields:
        if field[:1] == _SHAPE_KEY and len(field) > _MOST_SHAPE_BYTES + 11:
            raise invalid(f"a shape has more than the {MAX_RANK} dimensions that are supported")


def typed_bytes(data: Buffer) -> int:
    """About how many bytes of a message are tensors in typed contents, which take long to read (limits.is_heavy).

    INVALID_ARGUMENT for a message of too many fields.
    """
    if not is_heavy(len(data)):
        return 0
    try:
        raws = cut(memoryview(data), _RAW_INPUT_FIELD)[1]
    except (IndexError, ValueError):
        return 0
    return len(data) - sum(map(len, raws))


def id_of(data: Buffer) -> str:
    """The id of a request that may be no message at all, as far as it can be read; empty for an unreasonable one."""
    found = first(memoryview(data), _ID_FIELD)
    return bytes(found).decode(errors="ignore") if found is not None and len(found) <= MOST_NAME_CHARS else ""


def check_fields(data: Buffer) -> None:
    """INVALID_ARGUMENT for a large message of the control plane with more fields than any real one."""
    if len(data) < _SPLIT_FROM:
        return
    with contextlib.suppress(IndexError, ValueError):  # the library says what is wrong with it
        cut(memoryview(data), 0)


def _as_bytes(data: Buffer) -> bytes:
    return data if isinstance(data, bytes) else bytes(data)


def _undecodable(message: Any) -> Exception:
    return invalid(f"the message can't be decoded as protobuf of {message.DESCRIPTOR.full_name}")


def _tensors(entries: Sequence[Any], raws: Sequence[Buffer], contents: Mapping[int, Buffer], what: str) -> list[Tensor]:
    check_count(entries, MAX_TENSORS, f"{what}s")
    for entry in entries:
        check_count(entry.parameters, MAX_PARAMETERS, f"parameters of {what} '{entry.name[:80]}'")
    if not raws:
        return [protobuf_contents.decode(entry, what, contents.get(index)) for index, entry in enumerate(entries)]
    for index, entry in enumerate(entries):
        if index in contents or entry.HasField("contents"):
            raise invalid(
                f"contents field must not be specified when using raw_{what}_contents for {what} '{entry.name}'"
            )
    if len(raws) != len(entries):
        raise invalid(
            f"expected {len(entries)} raw_{what}_contents, one for each {what}, but got {len(raws)}; "
            "send either all inputs raw or none"
        )
    return [
        Tensor.from_raw(entry.name, entry.datatype, entry.shape, raw) for entry, raw in zip(entries, raws, strict=True)
    ]


def repository_parameters(entries: Mapping[str, Any]) -> dict[str, ParameterValue | bytes]:
    """A map<string, ModelRepositoryParameter> as plain values."""
    return {name: getattr(value, choice) for name, value in entries.items() if (choice := choice_of(value)) is not None}


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
