"""OIP JSON infer requests and replies to `InferRequest` and `InferResponse`, and back.

`binary_codec` builds on the same functions: it hands in a `Tail`, the bytes that follow the JSON of a body. Without
one, every tensor must have `data`. Unknown keys are ignored, because real clients send some (kserve: `model_name`);
tensors in shared memory have neither data nor bytes, but that extension's parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol, TypeGuard

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.codecs import shared_memory
from crossover.protocol.codecs.json.elements import Elements, NotNativeError, split
from crossover.protocol.codecs.json.templates import JsonRequestTemplates
from crossover.protocol.codecs.json.text import MAX_DEPTH, Fragment, check_depth, dumps, kind_of, loads_object
from crossover.protocol.codecs.json.unread import UnreadArray, is_long, read_object
from crossover.protocol.codecs.json.values import to_array, to_text
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.errors import InferenceError, invalid
from crossover.protocol.limits import MAX_PARAMETERS, MAX_TENSORS, check_count
from crossover.protocol.messages import InferRequest, InferResponse, Parameters, RequestedOutput, SharedTensors
from crossover.protocol.names import shown
from crossover.protocol.tensors import Buffer, Shape, Tensor, declared

_REQUEST_KEYS = frozenset({"id", "parameters", "inputs", "outputs"})
_RESPONSE_KEYS = frozenset({"id", "parameters", "outputs", "model_name", "model_version"})
_OUTPUT_KEYS = frozenset({"name", "parameters"})
_TEMPLATES = JsonRequestTemplates()
_TENSOR_KEYS = frozenset({"name", "shape", "datatype", "parameters", "data"})


class Tail(Protocol):
    """The binary part of a body, taken tensor by tensor in the order of the JSON."""

    def take(self, name: str, size: object) -> Buffer: ...


def decode_request(
    text: Buffer, model_name: str, model_version: str = "", tail: Tail | None = None
) -> tuple[InferRequest, ReplyForm]:
    """The request in `text`, and the form its reply is to have; INVALID_ARGUMENT that says what is wrong where."""
    skeleton, elements = split(text) if tail is None else (text, None)
    if elements is None or is_long(skeleton):
        return _request(read_object(text), model_name, model_version, tail, None)
    try:
        template = _TEMPLATES.find(skeleton, elements)
        if template is not None:
            return template.fill(elements, model_name, model_version)
        request, form = _request(loads_object(skeleton), model_name, model_version, tail, elements)
        elements.check_claimed()
    except (NotNativeError, InferenceError):
        return _request(read_object(text), model_name, model_version, tail, None)
    if request.shared is None:
        _TEMPLATES.learn(skeleton, elements, request, form)
    return request, form


def decode_response(text: Buffer, tail: Tail | None = None) -> InferResponse:
    """The reply in `text`; INVALID_ARGUMENT when it is not an OIP infer reply."""
    skeleton, elements = split(text) if tail is None else (text, None)
    if elements is not None and not is_long(skeleton):
        try:
            response = _response(loads_object(skeleton), tail, elements)
            elements.check_claimed()
        except (NotNativeError, InferenceError):
            pass  # read again to say why
        else:
            return response
    return _response(read_object(text), tail, None)


def _request(
    document: dict[str, Any], model_name: str, model_version: str, tail: Tail | None, elements: Elements | None
) -> tuple[InferRequest, ReplyForm]:
    if type(document.get("model_name")) is str:  # kserve always sends it; the path has said it already
        del document["model_name"]
    _check_unknown(document, _REQUEST_KEYS, elements)
    items = document.get("inputs")
    if not is_array(items):
        raise invalid(
            f"'inputs' is {kind_of(items) if 'inputs' in document else 'missing'}; it takes an array of tensors"
        )
    check_count(items, MAX_TENSORS, "inputs")
    parameters = _parameters(document.get("parameters"), "the request")
    form = ReplyForm(_flag(parameters.pop("binary_data_output", False), "binary_data_output"))
    shared: dict[str, Parameters] = {}
    request = InferRequest(
        model_name,
        [_tensor(item, tail, elements, "inputs", index, shared) for index, item in enumerate(items)],
        model_version,
        _text(document, "id"),
        _requested(document.get("outputs"), form, elements),
        parameters,
    )
    outputs = shared_memory.take_outputs(request.outputs) if request.outputs else {}
    if shared or outputs:
        request.shared = SharedTensors(shared, outputs)
    return request, form


def _response(document: dict[str, Any], tail: Tail | None, elements: Elements | None) -> InferResponse:
    _check_unknown(document, _RESPONSE_KEYS, elements)
    items = document.get("outputs")
    if not is_array(items):
        raise invalid(
            f"'outputs' is {kind_of(items) if 'outputs' in document else 'missing'}; it takes an array of tensors"
        )
    check_count(items, MAX_TENSORS, "outputs")
    return InferResponse(
        _text(document, "model_name"),
        _text(document, "model_version"),
        [_tensor(item, tail, elements, "outputs", index) for index, item in enumerate(items)],
        _text(document, "id"),
        _parameters(document.get("parameters"), "the reply"),
    )


def encode_request(request: InferRequest) -> bytes:
    """The request as JSON; NOT_CARRIED for tensors that JSON cannot hold."""
    return dumps(request_document(request, [with_data(tensor) for tensor in request.inputs]))


def encode_response(response: InferResponse) -> bytes:
    """The reply as JSON; NOT_CARRIED for tensors that JSON cannot hold."""
    if len(response.outputs) == 1 and not (response.id or response.parameters or response.shared):
        tensor = response.outputs[0]
        before, behind = _reply_template(
            (response.model_name, response.model_version, tensor.name, tensor.datatype.name, tensor.shape)
        )
        return b"".join((before, to_text(tensor), behind))
    return dumps(response_document(response, [shared_or(with_data, tensor, response) for tensor in response.outputs]))


_REPLIES: BoundedCache[tuple[str, str, str, str, Shape], tuple[bytes, bytes]] = BoundedCache()


def _reply_template(key: tuple[str, str, str, str, Shape]) -> tuple[bytes, bytes]:
    """The text before and behind the elements of a reply with one output. Replies of a model differ in the elements alone."""
    cached = _REPLIES.get(key)
    if cached is not None:
        return cached
    name, version, output, datatype_name, shape = key
    item = {"name": output, "datatype": datatype_name, "shape": shape, "data": 0}
    text = dumps(response_document(InferResponse(name, version, []), [item]))
    template = text[: -len(b"0}]}")], text[-len(b"}]}") :]
    _REPLIES.put(key, template, len(text))
    return template


def request_document(
    request: InferRequest, inputs: list[dict[str, Any]], parameters: Parameters | None = None
) -> dict[str, Any]:
    """The JSON object around tensors that are already objects; `parameters` are added to the request's own."""
    document: dict[str, Any] = {}
    if request.id:
        document["id"] = request.id
    for name, value in request.parameters.items():
        _check_integer(name, value, "the request")
    if merged := {**request.parameters, **(parameters or {})}:
        document["parameters"] = merged
    document["inputs"] = inputs
    if request.outputs:
        document["outputs"] = [_output_object(output) for output in request.outputs]
    return document


def response_document(response: InferResponse, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {"model_name": response.model_name}
    if response.model_version:
        document["model_version"] = response.model_version
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = response.parameters
    document["outputs"] = outputs
    return document


def described(tensor: Tensor) -> dict[str, Any]:
    """The keys that every tensor object has."""
    return {"name": tensor.name, "datatype": tensor.datatype.name, "shape": tensor.shape}


def with_data(tensor: Tensor) -> dict[str, Any]:
    """A tensor object that carries its elements as flat JSON; NOT_CARRIED for what JSON cannot hold."""
    item = described(tensor)
    item["data"] = Fragment(to_text(tensor))
    return item


def shared_or(show: Callable[[Tensor], dict[str, Any]], tensor: Tensor, response: InferResponse) -> dict[str, Any]:
    """The object of an output in a reply: where it lies in shared memory, or as `show` shows it."""
    if tensor.name not in response.shared:
        return show(tensor)
    return {**described(tensor), "parameters": response.shared[tensor.name]}


def _output_object(output: RequestedOutput) -> dict[str, Any]:
    item: dict[str, Any] = {"name": output.name}
    if output.parameters:
        item["parameters"] = output.parameters
    return item


def is_array(value: object) -> TypeGuard[Collection[Any]]:
    """Whether a value is an array of JSON, read or not."""
    return type(value) is list or type(value) is UnreadArray


def tensor_head(item: object, where: str, index: int) -> tuple[dict[str, Any], str, str, Collection[int]]:
    """The object of a tensor, its name, datatype and shape as sent; INVALID_ARGUMENT when one is missing."""
    if type(item) is not dict:
        raise invalid(f"'{where}[{index}]' is {kind_of(item)}; it takes an object")
    name, kind, dims = item.get("name"), item.get("datatype"), item.get("shape")
    if type(name) is not str or not name:
        raise _missing(item, "name", f"'{where}[{index}]'", "a string, not empty")
    if type(kind) is not str:
        raise _missing(item, "datatype", f"tensor '{name}'", "a string such as FP32")
    if not is_array(dims):
        raise _missing(item, "shape", f"tensor '{name}'", "an array of integers, 0 or more")
    return item, name, kind, dims


def _missing(item: dict[str, Any], key: str, where: str, takes: str) -> InferenceError:
    """INVALID_ARGUMENT for a key that is missing or of another type."""
    value = item.get(key)
    if value is None:
        return invalid(f"{where} has no '{key}'; it takes {takes}")
    return invalid(f"'{key}' of {where} is {kind_of(value) if value != '' else 'empty'}; it takes {takes}")


def _tensor(
    item: object, tail: Tail | None, elements: Elements | None, where: str, index: int,
    shared: dict[str, Parameters] | None = None,
) -> Tensor:  # fmt: skip
    item, name, kind, dims = tensor_head(item, where, index)
    row, shape = declared(name, kind, dims)
    parameters = _parameters(item.get("parameters"), f"tensor '{name}'")
    data, size = item.get("data"), parameters.get("binary_data_size")
    _check_unknown(item, _TENSOR_KEYS, elements)
    if data is not None:
        if size is not None:
            raise invalid(f"tensor '{name}' has both 'data' and 'binary_data_size'; send one of them")
        if type(data) is UnreadArray:
            return data.tensor(name, row, shape)
        claimed = elements.claim(data, name, row, shape) if elements is not None else None
        return claimed or Tensor(name, row, shape, array=to_array(name, row, shape, data))
    if size is None:
        if shared is not None and shared_memory.REGION in parameters:
            shared[name] = shared_memory.take(parameters, f"tensor '{name}'")
            return shared_memory.placeholder(name, kind, list(dims))
        raise invalid(f"tensor '{name}' has neither 'data' nor 'binary_data_size'; send one of them")
    return Tensor.from_raw(name, kind, shape, _EMPTY_TAIL.take(name, size) if tail is None else tail.take(name, size))


class _NoTail:
    def take(self, name: str, size: object) -> Buffer:
        if size == 0 and type(size) is int:
            return b""
        raise invalid(
            f"tensor '{name}' says binary_data_size {shown(size)}, but no binary data follows the JSON; "
            "header Inference-Header-Content-Length says where it begins"
        )


_EMPTY_TAIL = _NoTail()


def _requested(items: object, form: ReplyForm, elements: Elements | None) -> list[RequestedOutput]:
    if items is None:
        return []
    if not is_array(items):
        raise invalid(f"'outputs' is {kind_of(items)}; it takes an array of objects with a 'name'")
    check_count(items, MAX_TENSORS, "outputs")
    requested = []
    for index, item in enumerate(items):
        if type(item) is not dict:
            raise invalid(f"'outputs[{index}]' is {kind_of(item)}; it takes an object with a 'name'")
        name = item.get("name")
        if type(name) is not str or not name:
            raise _missing(item, "name", f"'outputs[{index}]'", "a string, not empty")
        _check_unknown(item, _OUTPUT_KEYS, elements)
        parameters = _parameters(item.get("parameters"), f"output '{name}'")
        if "binary_data" in parameters:
            form.named[name] = _flag(parameters.pop("binary_data"), f"binary_data of output '{name}'")
        requested.append(RequestedOutput(name, parameters))
    return requested


def _check_integer(name: str, value: object, where: str) -> None:
    if type(value) is int and not -(2**63) <= value < 2**64:
        raise invalid(f"parameter '{name[:40]}' of {where} does not fit in 64 bits")


def _parameters(items: object, where: str) -> Parameters:
    if items is None:
        return {}
    if type(items) is not dict:
        raise invalid(f"'parameters' of {where} is {kind_of(items)}; it takes an object")
    check_count(items, MAX_PARAMETERS, f"parameters of {where}")
    for key, value in items.items():
        if type(value) not in _PLAIN:
            raise invalid(
                f"parameter '{key[:40]}' of {where} is {kind_of(value)}; it takes a string, number or boolean"
            )
        _check_integer(key, value, where)
    return items


_PLAIN = frozenset({str, int, float, bool})


def _flag(value: object, name: str) -> bool:
    if type(value) is not bool:
        raise invalid(f"parameter {name} is {shown(value)}; it takes true or false")
    return value


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if type(value) is not str:
        raise invalid(f"'{key}' is {kind_of(value)}; it takes a string")
    return value


def _check_unknown(item: dict[str, Any], known: frozenset[str], elements: Elements | None) -> None:
    """Unknown keys are read no further than their depth; the native reader may have taken arrays out of them."""
    if not known.issuperset(item):
        if elements is not None:
            raise NotNativeError
        for key in item.keys() - known:
            check_depth(item[key], MAX_DEPTH)
