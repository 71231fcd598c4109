"""Bodies to orders: what is to be run and kept, checked as far as that goes without the model. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from crossover.protocol.errors import InferenceError
from crossover.protocol.messages import InferRequest
from crossover.protocol.names import check_model_name
from crossover.rest_gateway.api.problems import Problem, of_error, unprocessable
from crossover.rest_gateway.api.tensors import read_tensors, text_of
from crossover.rest_gateway.predictions.documents import (
    MOST_LABEL_CHARS,
    NewPrediction,
    PredictionDocument,
    PredictionPatch,
)
from crossover.rest_gateway.predictions.record import Label, Task

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from crossover.protocol.tensors import Tensor

B = TypeVar("B", bound=BaseModel)
MOST_AT_ONCE = 100
_READ_ONLY = frozenset(PredictionDocument.model_fields) - frozenset(NewPrediction.model_fields)
"""Members of a representation that a caller who PUTs back what it got may leave in; they are not looked at."""
_SENTENCES = {
    "missing": "'{where}' is missing",
    "extra_forbidden": "'{where}' is not a member here; it takes {members}",
    "string_type": "'{where}' takes a string",
    "string_too_short": "'{where}' is empty; it takes a name",
    "string_too_long": "'{where}' takes at most {max_length} characters",
    "dict_type": "'{where}' takes an object",
}


@dataclass(frozen=True, slots=True)
class Order:
    """A checked body of POST or PUT."""

    model: str
    version: str
    upstream: str | None
    """As the body names it; None leaves the choice to the header and the setting."""
    tensors: list[Tensor]
    inputs: str
    """The tensors' JSON as it was sent."""
    parameters: dict[str, Any]
    label: Label
    note: str | None

    def request(self) -> InferRequest:
        return InferRequest(self.model, self.tensors, self.version, parameters=dict(self.parameters))

    def task(self, upstream: str, trace: str = "") -> Task:
        """`trace`: of the request, for work that is queued."""
        return Task(self.model, self.inputs, upstream, self.version, orjson.dumps(self.parameters).decode(), trace)


def read_order(document: dict[str, Any], pointer: str = "") -> Order:
    """The order in a body's object; 422 with `pointer` (RFC 6901) to what is wrong."""
    members = {name: value for name, value in document.items() if name not in _READ_ONLY}
    body = _validated(NewPrediction, members, pointer)
    _check_texts(body.model_dump(exclude={"inputs"}), pointer)
    try:
        check_model_name(body.model)
    except InferenceError as error:
        raise unprocessable(error.message, f"{pointer}/model") from None
    try:
        tensors = read_tensors(body.inputs)
    except InferenceError as error:
        problem = of_error(error)
        problem.members["pointer"] = f"{pointer}/inputs"
        raise problem from None
    return Order(
        body.model,
        body.version or "",
        body.upstream,
        tensors,
        text_of(body.inputs),
        body.parameters,
        body.label,
        body.note,
    )


def read_orders(document: dict[str, Any]) -> list[Order]:
    """The orders in a body of `{"requests": [...]}`."""
    items = document["requests"]
    if len(document) > 1:
        other = next(name for name in document if name != "requests")
        raise unprocessable(f"'{other[:40]}' stands beside 'requests'; put it into each request", f"/{other[:40]}")
    if type(items) is not list or not 0 < len(items) <= MOST_AT_ONCE:
        raise unprocessable(f"'requests' takes an array of 1 to {MOST_AT_ONCE} requests", "/requests")
    return [_read_item(item, f"/requests/{index}") for index, item in enumerate(items)]


def read_patch(document: dict[str, Any]) -> dict[str, Any]:
    """The members that a merge patch sets; None removes one. 422 for anything but label and note."""
    patch = _validated(PredictionPatch, document, "")
    changes = patch.model_dump(exclude_unset=True)
    _check_texts(changes, "")
    return changes


def _read_item(item: object, pointer: str) -> Order:
    if type(item) is not dict:
        raise unprocessable(f"'{pointer[1:]}' takes an object with 'model' and 'inputs'", pointer)
    return read_order(item, pointer)


def _validated(model: type[B], document: dict[str, Any], pointer: str) -> B:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _sentence(first, pointer, ", ".join(model.model_fields)) from None


def _sentence(error: ErrorDetails, pointer: str, members: str) -> Problem:
    name = str(error["loc"][0])[:40]
    if name == "label":
        return unprocessable("'label' takes a string, an integer or null", f"{pointer}/label")
    if name == "parameters":
        return unprocessable("'parameters' takes an object of strings, numbers and booleans", f"{pointer}/parameters")
    where = f"{pointer[1:]}/{name}" if pointer else name
    template = _SENTENCES.get(error["type"], "'{where}': {message}")
    values = {"message": error["msg"].lower(), "members": members, **error.get("ctx", {})}
    return unprocessable(template.format(where=where, **values), f"{pointer}/{name}")


def _check_texts(members: dict[str, Any], pointer: str) -> None:
    """NUL is legal in JSON, but PostgreSQL's text cannot hold it; a label is a name, not a document."""
    for name, value in members.items():
        if type(value) is str and "\0" in value:
            raise unprocessable(f"'{name}' holds the character NUL, which is not kept", f"{pointer}/{name}")
    if len(str(members.get("label", ""))) > MOST_LABEL_CHARS:
        raise unprocessable(f"'label' takes at most {MOST_LABEL_CHARS} characters", f"{pointer}/label")
