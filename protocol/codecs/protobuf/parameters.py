"""Parameters as protobuf has them, and the fields of a message that differ from call to call: its id and its parameters.

These two go before everything else. Fields may come in any order (protobuf's encoding guide, Field Order), so what follows is the
message of a call that has neither, for which there is a template (templates.py): a message of a stream, or one whose caller
gave it an id, costs no more than others. Messages in another order are read by the library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.codecs.protobuf.wire import key, varint
from crossover.protocol.errors import invalid
from crossover.protocol.limits import MAX_PARAMETERS, check_count
from crossover.protocol.messages import Parameters, ParameterValue
from crossover.protocol.tensors import Buffer
from crossover.protos import inference as pb

_ID_KEY, _PARAMETER_KEY = key(3), key(4)
"""Tags of a request's id and parameters, and of a response's."""
_ID_TAG, _PARAMETER_TAG = CALL_TAGS = _ID_KEY[0], _PARAMETER_KEY[0]
_ONE_BYTE = 0x80
"""Lengths below it take one byte; a longer field is left to the library."""
_MOST_BYTES = 512
"""Of the parameters that are read here."""
_INT64 = range(-(2**63), 2**63)
_ENCODED: BoundedCache[tuple[object, ...], bytes] = BoundedCache()
_DECODED: BoundedCache[bytes, Parameters] = BoundedCache()


def call_fields(identity: str, parameters: Mapping[str, ParameterValue]) -> bytes:
    """The fields that begin a message with this id and these parameters; UnicodeEncodeError for half of a surrogate pair."""
    encoded = _encoded(parameters) if parameters else b""
    if not identity:
        return encoded
    text = identity.encode()
    return b"".join((_ID_KEY, varint(len(text)), text, encoded))


def _encoded(parameters: Mapping[str, ParameterValue]) -> bytes:
    kinds = tuple(map(type, parameters.values()))  # True and 1 are equal, and so are 0.0 and -0.0
    known = (*parameters.items(), *kinds)
    encoded = _ENCODED.get(known)
    if encoded is None:
        message = pb.ModelInferRequest()
        set_parameters(message.parameters, parameters)
        encoded = message.SerializeToString()
        if float not in kinds:
            _ENCODED.put(known, encoded, len(encoded))
    return encoded


def read_call_fields(data: Buffer) -> tuple[str, Parameters, int] | None:
    """Id, parameters, and where the rest of the message begins; None where the message is to be read in another way."""
    size, end, identity = len(data), 0, ""
    if size > 2 and data[0] == _ID_TAG and data[1] < _ONE_BYTE:
        end = 2 + data[1]
        try:
            identity = str(data[2:end], "utf-8")
        except UnicodeDecodeError:
            return None
    begun = end
    while end + 1 < size and data[end] == _PARAMETER_TAG and data[end + 1] < _ONE_BYTE and end - begun < _MOST_BYTES:
        end += 2 + data[end + 1]
    if not 0 < end < size:
        return None
    parameters = _decoded(bytes(data[begun:end])) if end > begun else {}
    return None if parameters is None else (identity, parameters, end)


def _decoded(fields: bytes) -> Parameters | None:
    known = _DECODED.get(fields)
    if known is None:
        try:
            known = parameters_of(pb.ModelInferRequest.FromString(fields).parameters)
        except DecodeError:
            return None
        _DECODED.put(fields, known, len(fields))
    return known.copy()


def merged(parameters: Parameters, later: Parameters) -> Parameters:
    """What a message says twice counts as it says it last (protobuf's encoding guide, Last One Wins)."""
    if not later:
        return parameters
    parameters.update(later)
    check_count(parameters, MAX_PARAMETERS, "parameters")
    return parameters


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


def parameters_of(entries: Mapping[str, Any]) -> Parameters:
    """A map<string, InferParameter> as plain values; parameters without a value are left out."""
    check_count(entries, MAX_PARAMETERS, "parameters")
    return {name: getattr(value, choice) for name, value in entries.items() if (choice := choice_of(value)) is not None}


def choice_of(value: Any) -> str | None:
    return value.WhichOneof("parameter_choice")
