"""OIP's control plane over REST: health, metadata, configuration, statistics and the model repository."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest.errors import JSON_TYPE, error_reply, json_reply
from crossover.endpoints.rest.types import Reply
from crossover.protocol.codecs.json.text import dumps, kind_of
from crossover.protocol.codecs.json.unread import read_control
from crossover.protocol.codecs.proto_json import to_object
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.limits import MAX_PARAMETERS, check_count
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from crossover.endpoints.rest.types import Request
    from crossover.protocol.messages import ParameterValue


_JSON_A_BYTE = 8
"""Bytes of JSON that a byte of a message becomes where it holds names and counters."""


async def message_reply(message: Message, items: Sequence[Message] | None = None, *, complete: bool = False) -> Reply:
    """A message as a JSON reply, or the `items` in it as an array; what is long is written beside the event loop."""

    def written() -> bytes:
        if items is None:
            return dumps(to_object(message, complete=complete))
        return dumps([to_object(item, complete=complete) for item in items])

    return Reply(200, [JSON_TYPE], [await off_loop(_JSON_A_BYTE * message.ByteSize(), written)])


async def document_of(request: Request) -> dict[str, Any]:
    """The JSON object in the body of a request for control; {} for an empty body."""
    return await off_loop(len(request.body), read_control, request.body)


async def alive(_request: Request) -> Reply:
    return json_reply({"status": "alive"})


async def live(_request: Request) -> Reply:
    """The process lives because it answers; an upstream that is down is no reason to restart a gateway."""
    return json_reply({"live": True})


async def ready(request: Request) -> Reply:
    try:
        if await request.inference.server_ready(request.context):
            return json_reply({"ready": True})
    except InferenceError as error:
        return error_reply(error, ready=False)
    return error_reply(InferenceError(Code.UNAVAILABLE, "the server is not ready"), ready=False)


async def model_ready(request: Request) -> Reply:
    name, version = request.route.model, request.route.version
    try:
        if await request.inference.model_ready(name, version, request.context):
            return json_reply({"name": name, "ready": True})
    except InferenceError as error:
        if error.code is not Code.UNAVAILABLE:
            raise
        return error_reply(error, name=name, ready=False)
    model = f"version {version} of model '{name}'" if version else f"model '{name}'"
    return error_reply(InferenceError(Code.UNAVAILABLE, f"{model} is not ready"), name=name, ready=False)


async def server_metadata(request: Request) -> Reply:
    return await message_reply(await request.inference.server_metadata(request.context))


async def model_metadata(request: Request) -> Reply:
    route = request.route
    return await message_reply(await request.inference.model_metadata(route.model, route.version, request.context))


async def config(request: Request) -> Reply:
    route = request.route
    return await message_reply(await request.inference.model_config(route.model, route.version, request.context))


async def statistics(request: Request) -> Reply:
    route = request.route
    message = await request.inference.model_statistics(route.model, route.version, request.context)
    return await message_reply(message, complete=True)


async def model_names(request: Request) -> list[str]:
    """Every model that is known, once."""
    index = await request.inference.repository_index(False, request.context)
    return list(dict.fromkeys(model.name for model in index.models))


async def models(request: Request) -> Reply:
    return json_reply({"models": await model_names(request)})


async def index(request: Request) -> Reply:
    document = await document_of(request)
    only_ready = document.get("ready", False)
    if type(only_ready) is not bool:
        raise invalid(f"'ready' is {kind_of(only_ready)}; it takes true or false")
    message = await request.inference.repository_index(only_ready, request.context)
    return await message_reply(message, message.models)


async def load(request: Request) -> Reply:
    parameters = await _controlled(request)
    request.options.control.check(parameters)
    files = await off_loop(len(request.body), _with_files, parameters)
    await request.inference.load_model(request.route.model, files, request.context)
    return Reply(200, [])


def _with_files(parameters: dict[str, ParameterValue]) -> dict[str, ParameterValue | bytes]:
    return {key: _file(key, value) if key.startswith("file:") else value for key, value in parameters.items()}


async def unload(request: Request) -> Reply:
    parameters = await _controlled(request)
    await request.inference.unload_model(request.route.model, parameters, request.context)
    return Reply(200, [])


async def unsupported(_request: Request) -> Reply:
    raise InferenceError(Code.UNIMPLEMENTED, "this extension of the protocol is not supported")


async def _controlled(request: Request) -> dict[str, ParameterValue]:
    """The parameters of a load or unload; PERMISSION_DENIED where these are switched off."""
    request.options.control.check()
    parameters: Any = (await document_of(request)).get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise invalid(f"'parameters' is {kind_of(parameters)}; it takes an object")
    check_count(parameters, MAX_PARAMETERS, "parameters")
    for key, value in parameters.items():
        if type(value) not in (str, int, bool):
            raise invalid(f"parameter '{key[:80]}' is {kind_of(value)}; it takes a string, an integer or a boolean")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise invalid(f"parameter '{key[:80]}' does not fit in 64 bits")
    return parameters


def _file(key: str, value: ParameterValue) -> bytes:
    if type(value) is not str:
        raise invalid(f"parameter '{key[:80]}' takes the file's bytes in base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"parameter '{key[:80]}' is not valid base64") from None
