"""Message classes of the Open Inference Protocol, built from `inference.binpb` in a descriptor pool of our own.

tritonclient, kserve and others each declare `inference.*` in protobuf's default pool, where the second declaration in one
process is an error at import. A pool of our own lets any of them live beside us. Types for checkers: `inference.pyi`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

SERVICE = "inference.GRPCInferenceService"
DESCRIPTOR_SET = Path(__file__).with_name("inference.binpb")


class Method(NamedTuple):
    """One call of the service."""

    request: Any
    response: Any
    client_streaming: bool
    server_streaming: bool


def _load() -> tuple[descriptor_pool.DescriptorPool, dict[str, Any]]:
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_SET.read_bytes())
    pool = descriptor_pool.DescriptorPool()
    names: dict[str, Any] = {}
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
        descriptor = pool.FindFileByName(file.name)
        for name, message in descriptor.message_types_by_name.items():
            names[name] = message_factory.GetMessageClass(message)
        for name, enum in descriptor.enum_types_by_name.items():
            names[name] = enum_type_wrapper.EnumTypeWrapper(enum)
    return pool, names


POOL, _NAMES = _load()
globals().update(_NAMES)

METHODS: dict[str, Method] = {
    method.name: Method(
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
        method.client_streaming,
        method.server_streaming,
    )
    for method in POOL.FindServiceByName(SERVICE).methods
}
