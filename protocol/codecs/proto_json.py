"""Control-plane protobuf messages to JSON objects and back, in the shape that OIP's REST clients read.

It differs from proto3's own JSON in two ways: names stay snake_case, and 64-bit integers are numbers. Fields without
presence are always written. Fields with presence are written when set; `complete` writes unset nested messages too
(perf_analyzer reads every part of the statistics without looking whether it is there).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.message import Message

from crossover.protocol.codecs.json.text import kind_of
from crossover.protocol.errors import InferenceError, invalid

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor

M = TypeVar("M", bound=Message)


def to_object(message: Message, complete: bool = False) -> dict[str, Any]:
    """The JSON object for `message`."""
    return {
        field.name: _field_value(message, field, complete)
        for field in _fields(message)
        if _is_written(message, field, complete)
    }


def from_object(document: object, message: M) -> M:
    """`message` filled from a JSON object; unknown keys are ignored, INVALID_ARGUMENT when a value does not fit."""
    if type(document) is not dict:
        raise invalid(f"a {message.DESCRIPTOR.name} is a JSON object; this is {kind_of(document)}")
    try:
        return json_format.ParseDict(document, message, ignore_unknown_fields=True)
    except (json_format.ParseError, TypeError, AttributeError, ValueError) as error:
        raise _does_not_fit(message, error) from None


def _fields(message: Message) -> list[FieldDescriptor]:
    return cast("list[FieldDescriptor]", message.DESCRIPTOR.fields)


def _does_not_fit(message: Message, error: Exception) -> InferenceError:
    return invalid(f"the JSON object is not a {message.DESCRIPTOR.name}: {str(error).rstrip('.')[:200]}")


def _is_written(message: Message, field: FieldDescriptor, complete: bool) -> bool:
    if not field.has_presence:
        return True
    if field.containing_oneof is None and complete and field.message_type is not None:
        return True
    return message.HasField(field.name)


def _field_value(message: Message, field: FieldDescriptor, complete: bool) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        item = field.message_type.fields_by_name["value"]
        return {str(key): _scalar(item, value[key], complete) for key in sorted(value)}
    if field.is_repeated:
        return [_scalar(field, item, complete) for item in value]
    return _scalar(field, value, complete)


def _scalar(field: FieldDescriptor, value: Any, complete: bool) -> Any:
    if field.message_type is not None:
        return to_object(value, complete)
    if field.enum_type is not None:
        member = field.enum_type.values_by_number.get(value)
        return member.name if member is not None else value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value
