"""Triton's shared memory extensions over REST: regions are registered, shown and forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest.control import document_of, message_reply
from crossover.endpoints.rest.types import Reply
from crossover.protocol.codecs.json.text import kind_of
from crossover.protocol.errors import invalid
from crossover.protocol.names import shown
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import Request


async def system_memory_status(request: Request) -> Reply:
    return await _status(request, "System")


async def cuda_memory_status(request: Request) -> Reply:
    return await _status(request, "Cuda")


async def system_memory_unregister(request: Request) -> Reply:
    return await _unregister(request, "System")


async def cuda_memory_unregister(request: Request) -> Reply:
    return await _unregister(request, "Cuda")


async def system_memory_register(request: Request) -> Reply:
    document = await _document(request)
    key = document.get("key")
    if type(key) is not str:
        raise invalid(f"'key' is {kind_of(key)}; it takes the name of a shared memory object")
    numbers = {name: _bytes(document, name) for name in ("offset", "byte_size")}
    message = pb.SystemSharedMemoryRegisterRequest(name=request.route.region, key=key, **numbers)
    await request.inference.control("SystemSharedMemoryRegister", message, request.context)
    return Reply(200, [])


async def cuda_memory_register(request: Request) -> Reply:
    message = pb.CudaSharedMemoryRegisterRequest(
        name=request.route.region, byte_size=_bytes(await _document(request), "byte_size")
    )
    await request.inference.control("CudaSharedMemoryRegister", message, request.context)
    return Reply(200, [])


async def _document(request: Request) -> dict[str, Any]:
    request.options.control.check_shared_memory()
    return await document_of(request)


def _bytes(document: dict[str, Any], name: str) -> int:
    value = document.get(name, 0)
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise invalid(f"'{name}' is {shown(value)}; it takes a number of bytes, 0 or more")
    return value


async def _status(request: Request, kind: str) -> Reply:
    request.options.control.check_shared_memory()
    method = pb.METHODS[f"{kind}SharedMemoryStatus"]
    message = await request.inference.control(
        f"{kind}SharedMemoryStatus", method.request(name=request.route.region), request.context
    )
    return await message_reply(message, [message.regions[name] for name in sorted(message.regions)], complete=True)


async def _unregister(request: Request, kind: str) -> Reply:
    request.options.control.check_shared_memory()
    method = pb.METHODS[f"{kind}SharedMemoryUnregister"]
    await request.inference.control(
        f"{kind}SharedMemoryUnregister", method.request(name=request.route.region), request.context
    )
    return Reply(200, [])
