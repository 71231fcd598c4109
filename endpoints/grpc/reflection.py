"""Server reflection under v1alpha and v1, so that grpcurl and its like need no .proto file.

grpcio-reflection knows v1alpha only; the messages of v1 are the same on the wire, so its servicer is registered a second
time under the newer name.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from protos import inference as pb

V1 = "grpc.reflection.v1.ServerReflection"
NAMES = (pb.SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)


def _pool() -> descriptor_pool.DescriptorPool:
    """Our own messages and the services beside them, in one pool."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(pb.DESCRIPTOR_SET.read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    for module in (health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    return pool


def add_to(server: Any) -> None:
    servicer = reflection.aio.ReflectionServicer(NAMES, pool=_pool())
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (reflection.SERVICE_NAME, V1):
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )
