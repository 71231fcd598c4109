"""KServe's V1 protocol (TensorFlow Serving's REST form): lists, readiness and `:predict`.

``instances`` are rows, each the value of the only input or an object with a value per input; the answer is
``predictions``, one per row. ``inputs`` are columns, the value of the only input or an object of them; the answer is
``outputs``. BYTES are text, or ``{"b64": "..."}`` for any bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.endpoints.rest.control import model_names
from crossover.endpoints.rest.errors import JSON_TYPE, error_reply, json_reply
from crossover.endpoints.rest.types import Reply
from crossover.protocol import deadline
from crossover.protocol.codecs.json.elements import put_back, split
from crossover.protocol.codecs.json.text import Fragment, dumps, kind_of, loads_object
from crossover.protocol.codecs.json.unread import UnreadArray, is_long, read_object, unread_arrays
from crossover.protocol.codecs.json.values import flat_elements, not_carried, numbers_text, to_array
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.codecs.sizes import TYPICAL_JSON_ELEMENT, check_reply
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import MAX_RANK, Tensor, declared, object_array
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import Request
    from crossover.transport.http1.messages import Buffer


_MOST_ARRAYS = 128 << 10
"""Arrays that are taken out of a text: one a row, of as many rows as a text may have objects."""


async def v1_models(request: Request) -> Reply:
    return json_reply({"models": await model_names(request)})


async def v1_model(request: Request) -> Reply:
    name = request.route.model
    if await request.inference.model_ready(name, "", request.context):
        return json_reply({"name": name, "ready": True})
    return error_reply(InferenceError(Code.UNAVAILABLE, f"model '{name}' is not ready"), name=name, ready=False)


async def v1_predict(request: Request) -> Reply:
    metadata = await request.inference.model_metadata(request.route.model, "", request.context)
    datatypes = {item.name: item.datatype for item in metadata.inputs}
    inputs, rows = await off_loop(len(request.body), _inputs, request.body, datatypes)
    request.context.mark("decoded")
    deadline.check(request.context.deadline, "before the work was begun")
    response = await request.inference.infer(InferRequest(request.route.model, inputs), request.context)
    check_reply(response, request.options.max_message_bytes, ReplyForm())
    elements = sum(tensor.count for tensor in response.outputs)
    return Reply(200, [JSON_TYPE], [await off_loop(TYPICAL_JSON_ELEMENT * elements, _answer, response, rows)])


def _inputs(body: Buffer, datatypes: dict[str, str]) -> tuple[list[Tensor], int | None]:
    """The tensors in a body, and how many instances it has; None when it has columns."""
    if is_long(body):
        skeleton, elements = split(body, most=_MOST_ARRAYS, any_key=True)
        if elements is not None and not is_long(skeleton):
            try:
                document, arrays = loads_object(skeleton), unread_arrays(elements)
                if put_back(document, arrays, any_key=True):
                    made = _tensors(document, datatypes)
                    if all(array.is_read for array in arrays):  # nobody else has looked whether the others are JSON
                        return made
            except InferenceError:
                pass  # what is wrong with the whole text comes first
    return _tensors(read_object(body, any_key=True), datatypes)


def _tensors(document: dict[str, Any], datatypes: dict[str, str]) -> tuple[list[Tensor], int | None]:
    rows = document.get("instances")
    columns = _columns(rows, datatypes) if rows is not None else _named(document.get("inputs"), datatypes)
    tensors = [_tensor(name, datatypes[name], values) for name, values in columns.items()]
    return tensors, tensors[0].shape[0] if rows is not None else None


def _answer(response: InferResponse, rows: int | None) -> bytes:
    return dumps({"outputs": _by_column(response)} if rows is None else {"predictions": _by_row(response, rows)})


def _columns(rows: Any, datatypes: dict[str, str]) -> dict[str, Any]:
    """Rows turned into one list per input."""
    if type(rows) is UnreadArray and rows.begins not in ("{", ""):
        return {_only(datatypes): rows}
    rows = list(rows) if type(rows) is UnreadArray else rows
    if type(rows) is not list or not rows:
        raise invalid("'instances' takes an array of one row or more")
    if type(rows[0]) is not dict or (len(rows[0]) == 1 and "b64" in rows[0]):
        return {_only(datatypes): rows}
    names = rows[0].keys()
    for index, row in enumerate(rows):
        if type(row) is not dict or row.keys() != names:
            raise invalid(f"'instances[{index}]' does not have the same inputs as the first row")
    return _known({name: [row[name] for row in rows] for name in names}, datatypes)


def _named(inputs: Any, datatypes: dict[str, str]) -> dict[str, Any]:
    if inputs is None:
        raise invalid("the body has neither 'instances' nor 'inputs'; send one of them")
    if type(inputs) is dict and not ("b64" in inputs and len(inputs) == 1):
        return _known(inputs, datatypes)
    return {_only(datatypes): inputs}


def _known(columns: dict[str, Any], datatypes: dict[str, str]) -> dict[str, Any]:
    for name in columns:
        if name not in datatypes:
            raise invalid(f"the model has no input '{name[:80]}'; it has {', '.join(datatypes)}")
    return columns


def _only(datatypes: dict[str, str]) -> str:
    if len(datatypes) != 1:
        raise invalid(f"the model has {len(datatypes)} inputs ({', '.join(datatypes)}); name them in objects")
    return next(iter(datatypes))


def _tensor(name: str, kind: str, values: Any) -> Tensor:
    """The tensor that nested lists mean; the shape is theirs."""
    if type(values) is list and UnreadArray in set(map(type, values)):
        stacked = _stacked(name, kind, values)
        if stacked is not None:
            return stacked
        values = _joined(values)
    row, shape = declared(name, kind, _shape(name, values))
    if type(values) is UnreadArray:
        if row.kind != "bytes":
            return values.tensor(name, row, shape)
        if (tensor := values.native_tensor(name, row, shape)) is not None:
            return tensor
        values = _listed(values)
    if row.kind == "bytes":
        elements = flat_elements(name, shape, values) if shape else [values]
        return Tensor(name, row, shape, array=object_array([_bytes(name, value) for value in elements], shape))
    return Tensor(name, row, shape, array=to_array(name, row, shape, values))


def _stacked(name: str, kind: str, rows: list[Any]) -> Tensor | None:
    """The tensor of rows that are still text; None where one is not, is of another shape, or has something wrong in it."""
    if set(map(type, rows)) != {UnreadArray}:
        return None
    first = rows[0].shape
    if len(first) >= MAX_RANK:
        return None
    row, shape = declared(name, kind, (len(rows), *first))
    if row.kind == "bytes" or math.prod(shape) > sum([values.size for values in rows]):
        return None
    array = np.empty(shape, row.dtype)
    for index, values in enumerate(rows):
        tensor = values.native_tensor(name, row, first) if values.shape == first else None
        if tensor is None:
            return None
        array[index] = tensor.array
    return Tensor(name, row, shape, array=array)


def _joined(rows: list[Any]) -> UnreadArray:
    """Rows of which some are still text as one array that is."""
    text = b"[%b]" % b",".join(
        [row.text if type(row) is UnreadArray else json.dumps(_listed(row)).encode() for row in rows]
    )
    return UnreadArray(text, 0, len(text))


def _listed(value: Any) -> Any:
    """A value without arrays that are still text."""
    if type(value) is dict:
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if type(value) in (list, UnreadArray) else value


def _shape(name: str, values: Any) -> tuple[int, ...]:
    shape = list(values.shape) if type(values) is UnreadArray else []
    while type(values) is list and len(shape) <= MAX_RANK:
        shape.append(len(values))
        if not values:
            break
        values = values[0]
    if len(shape) > MAX_RANK:
        raise invalid(f"the value of '{name}' nests deeper than {MAX_RANK} levels")
    return tuple(shape)


def _bytes(name: str, value: Any) -> bytes:
    if type(value) is str:
        return value.encode()
    try:
        if type(value) is dict and value.keys() == {"b64"}:
            return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError, TypeError):
        pass
    raise invalid(f"a value of '{name}' is {kind_of(value)}; BYTES takes text or {{\"b64\": base64}}")


def _by_row(response: InferResponse, count: int) -> Any:
    for tensor in response.outputs:
        if not tensor.shape or tensor.shape[0] != count:
            raise invalid(
                f"output '{tensor.name}' of shape {list(tensor.shape)} has no value for each of {count} instances; "
                "send 'inputs' instead of 'instances'"
            )
    if len(response.outputs) == 1:
        return _value(response.outputs[0])
    columns = {tensor.name: [_value(tensor, index) for index in range(count)] for tensor in response.outputs}
    return [{name: column[index] for name, column in columns.items()} for index in range(count)]


def _by_column(response: InferResponse) -> Any:
    if len(response.outputs) == 1:
        return _value(response.outputs[0])
    return {tensor.name: _value(tensor) for tensor in response.outputs}


def _value(tensor: Tensor, row: int | None = None) -> Any:
    """A tensor or one row of it as JSON; NaN is null, infinities are literals as in OIP replies."""
    array = tensor.array if row is None else tensor.array[row : row + 1].reshape(tensor.shape[1:])
    kind = tensor.datatype
    if kind.kind == "bytes":
        return _mapped(array.tolist(), _bytes_value)
    if not kind.json:
        raise not_carried(tensor.name, kind)
    if kind.kind == "float" and np.isinf(array).any():
        return _mapped(array.tolist(), _float_value)
    return Fragment(numbers_text(array)) if array.ndim else array.item()


def _mapped(values: Any, convert: Any) -> Any:
    return [_mapped(value, convert) for value in values] if type(values) is list else convert(values)


def _bytes_value(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _float_value(value: float) -> Any:
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else Fragment(b"Infinity" if value > 0 else b"-Infinity")
