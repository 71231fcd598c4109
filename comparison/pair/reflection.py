"""Server reflection, v1 and v1alpha (grpc/grpc, doc/server-reflection.md): the two differ in nothing but their name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from crossover.comparison.pair import schema
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.pair.sides import GrpcSide

_VERSIONS = ("v1", "v1alpha")
_OWN = ("grpc.reflection.", "grpc.health.")


class Reflection:
    """A service's own description of itself."""

    def __init__(self, side: GrpcSide) -> None:
        self._side = side
        self._version = ""

    def services(self) -> list[str]:
        """Names of the services that users call."""
        (answer,) = self._ask([reflection_pb2.ServerReflectionRequest(list_services="")])
        names = [service.name for service in answer.list_services_response.service]
        return [name for name in names if not name.startswith(_OWN)]

    def schema(self, call: str) -> Schema:
        """The schema of `call`."""
        service, _ = schema.split_call(call)
        return schema.checked(self.files(service), call)

    def files(self, symbol: str) -> list[descriptor_pb2.FileDescriptorProto]:
        """The file that declares `symbol` and all that it imports."""
        found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
        wanted = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol)]
        asked: set[str] = set()
        while wanted:
            for answer in self._ask(wanted):
                if answer.HasField("error_response"):
                    if asked:
                        continue  # a file that it imports; the schema says later whether that one is needed
                    raise PairError(
                        f"the service at {self._side.address} does not know '{symbol}' (reflection says: "
                        f"{answer.error_response.error_message}); it has {', '.join(self.services()) or 'no service'}"
                    )
                for data in answer.file_descriptor_response.file_descriptor_proto:
                    file = descriptor_pb2.FileDescriptorProto.FromString(data)
                    found[file.name] = file
            names = {name for file in found.values() for name in file.dependency} - found.keys() - asked
            asked |= names
            wanted = [reflection_pb2.ServerReflectionRequest(file_by_filename=name) for name in sorted(names)]
        return list(found.values())

    def _ask(
        self, requests: Sequence[reflection_pb2.ServerReflectionRequest]
    ) -> list[reflection_pb2.ServerReflectionResponse]:
        messages = [request.SerializeToString() for request in requests]
        for version in [self._version] if self._version else _VERSIONS:
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            reply = self._side.call(path, messages)
            if reply.code == "OK":
                self._version = version
                return [reflection_pb2.ServerReflectionResponse.FromString(data) for data in reply.messages]
            if reply.code != "UNIMPLEMENTED":
                raise PairError(
                    f"server reflection of the service at {self._side.address} answers {reply.code}: {reply.text}; "
                    "--proto FILE --import-path DIR or --protoset FILE describe it too"
                )
        raise PairError(
            f"the service at {self._side.address} has no server reflection; describe it with "
            "--proto FILE --import-path DIR or --protoset FILE"
        )
