"""Server reflection under v1alpha and v1, so that grpcurl and its like need no .proto file.

grpcio-reflection knows v1alpha only; the messages of v1 are the same on the wire, so its servicer is registered a second
time under the newer name.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from crossover.protos import inference as pb

V1 = "grpc.reflection.v1.ServerReflection"
NAMES = (pb.SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)


class _Pool:
    """A pool that finds a method's file too: tools ask for `package.Service.Method`, which upb's pools do not know."""

    def __init__(self, pool: descriptor_pool.DescriptorPool) -> None:
        self._pool = pool

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> Any:  # noqa: N802 - protobuf's name for it
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service, _, method = symbol.rpartition(".")
            if method not in self._pool.FindServiceByName(service).methods_by_name:
                raise
            return self._pool.FindFileContainingSymbol(service)


def _descriptors() -> descriptor_pool.DescriptorPool:
    """Our own messages, the services beside them and what errors carry as details, in one pool."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(pb.DESCRIPTOR_SET.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    for module in (health_pb2, reflection_pb2, any_pb2, duration_pb2, error_details_pb2, status_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool


def add_to(server: Any) -> None:
    servicer = reflection.aio.ReflectionServicer(NAMES, pool=_Pool(_descriptors()))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, V1):
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )
