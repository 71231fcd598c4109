"""What a gRPC method takes and gives: its descriptors from server reflection, a .proto file, or a descriptor set.

The result is a serialized FileDescriptorSet and the method's name, so that it can cross to another process.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError, EncodeError, Message

from crossover.comparison.pair import documents
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.template import bytes_of_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor


@dataclass(frozen=True, slots=True)
class Schema:
    """A method and the files that describe it."""

    files: bytes
    """A FileDescriptorSet, dependencies before what needs them."""
    service: str
    method: str
    stream: bool = False
    """The method answers with a stream of messages."""

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.method}"


class Method:
    """A method's two message types, and proto3 JSON both ways."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._pool = _pool(schema.files)
        self.descriptor = find(self._pool, schema.service, schema.method)
        self.request_type: type[Message] = message_factory.GetMessageClass(self.descriptor.input_type)
        self.reply_type: type[Message] = message_factory.GetMessageClass(self.descriptor.output_type)

    def request(self, text: str, where: str) -> Message:
        """The request that JSON `text` says; PairError says what of it does not fit the type."""
        try:
            document = documents.read(text) if text.strip() else {}
        except ValueError as error:
            raise PairError(f"{where} is not JSON: {error}; it reads {_short(text)}") from None
        if isinstance(document, dict):
            _read_files(document, self.descriptor.input_type, where)
        try:
            return json_format.ParseDict(document, self.request_type(), descriptor_pool=self._pool)
        except (json_format.Error, AttributeError, TypeError, ValueError) as error:
            raise PairError(f"{where} is no {self.descriptor.input_type.full_name}: {error}") from None

    def encoded(self, message: Message, where: str) -> bytes:
        try:
            return message.SerializeToString()
        except EncodeError as error:
            raise PairError(f"{where}: {error}") from None

    def decoded(self, data: bytes) -> Message:
        """The reply in `data`; PairError when it is no such message."""
        try:
            return self.reply_type.FromString(data)
        except DecodeError:
            raise PairError(f"the reply is no {self.descriptor.output_type.full_name}") from None

    def as_json(self, message: Message, *, defaults: bool = False) -> dict[str, Any]:
        """Proto3 JSON as an object; with `defaults` also fields that have their default value."""
        try:
            return json_format.MessageToDict(
                message, always_print_fields_with_no_presence=defaults, descriptor_pool=self._pool
            )
        except (json_format.Error, TypeError, ValueError, KeyError, OverflowError) as error:
            raise PairError(f"the reply has no proto3 JSON: {error}") from None

    def parsed_reply(self, document: Any) -> Message:
        """A reply message from somebody's JSON; ParseError when that has fields or values which the type has not."""
        return json_format.ParseDict(document, self.reply_type(), descriptor_pool=self._pool)


def split_call(call: str) -> tuple[str, str]:
    """Service and method of `pkg.Service/Method` (or `pkg.Service.Method`); PairError when it is neither."""
    service, slash, method = call.strip().strip("/").rpartition("/")
    if not slash:
        service, _, method = call.strip().rpartition(".")
    if not service or not method or "/" in service:
        raise PairError(f"--call is written pkg.Service/Method; '{call}' is not")
    return service, method


def from_protoset(paths: Sequence[str], call: str) -> Schema:
    """The schema in files of serialized FileDescriptorSets (`protoc --include_imports -o FILE`)."""
    found = descriptor_pb2.FileDescriptorSet()
    for path in paths:
        try:
            found.MergeFromString(bytes_of_file(path, "--protoset"))
        except DecodeError:
            raise PairError(f"--protoset: '{path}' is no FileDescriptorSet; protoc -o FILE writes one") from None
    return checked(list(found.file), call)


def from_proto(paths: Sequence[str], folders: Sequence[str], call: str) -> Schema:
    """The schema in .proto files, by protoc; PairError has protoc's own first complaint."""
    missing = next((path for path in paths if not _exists(path, folders)), None)
    if missing:
        raise PairError(f"--proto: the file '{missing}' cannot be read")
    with tempfile.TemporaryDirectory(prefix="crossover-proto-") as scratch:
        target = Path(scratch, "set")
        roots = [*folders, *dict.fromkeys(str(Path(path).parent) for path in paths if Path(path).exists())]
        import grpc_tools

        included = Path(grpc_tools.__file__).with_name("_proto")
        command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{root}" for root in dict.fromkeys(roots)),
                   f"-I{included}", "--include_imports", f"--descriptor_set_out={target}", *paths]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if line.strip()), "no reason given")
            raise PairError(f"--proto: protoc refuses the file: {said}")
        return from_protoset([str(target)], call)


def _exists(path: str, folders: Sequence[str]) -> bool:
    return Path(path).is_file() or any(Path(folder, path).is_file() for folder in folders)


def checked(files: Sequence[descriptor_pb2.FileDescriptorProto], call: str) -> Schema:
    """The schema of `call`; PairError when the files do not have it, or when it takes a stream of requests."""
    service, method = split_call(call)
    ordered = _in_order(files)
    schema = Schema(ordered, service, method)
    descriptor = find(_pool(ordered), service, method)
    if descriptor.client_streaming:
        raise PairError(f"{service}/{method} takes a stream of requests; a pair compares methods that take one")
    return replace(schema, stream=descriptor.server_streaming)


def methods_of(files: Sequence[descriptor_pb2.FileDescriptorProto], service: str) -> list[MethodDescriptor]:
    """Every method of a service that the files declare."""
    return list(_pool(_in_order(files)).FindServiceByName(service).methods)


def find(pool: descriptor_pool.DescriptorPool, service: str, method: str) -> MethodDescriptor:
    try:
        described = pool.FindServiceByName(service)
    except KeyError:
        raise PairError(f"--call: the schema has no service '{service}'") from None
    found = described.methods_by_name.get(method)
    if found is None:
        raise PairError(
            f"--call: service '{service}' has no method '{method}'; it has {', '.join(described.methods_by_name)}"
        )
    return found


def _in_order(files: Sequence[descriptor_pb2.FileDescriptorProto]) -> bytes:
    """A set in which every file comes after those that it needs; what the set lacks is taken from well-known types."""
    known = {file.name: file for file in files}
    placed: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def place(name: str, needed_by: str) -> None:
        if name in placed:
            return
        file = known.get(name) or _well_known(name)
        if file is None:
            raise PairError(f"the schema lacks the file '{name}', which '{needed_by}' imports")
        placed[name] = file
        for dependency in file.dependency:
            place(dependency, name)
        placed[name] = placed.pop(name)

    for file in files:
        place(file.name, "")
    return descriptor_pb2.FileDescriptorSet(file=placed.values()).SerializeToString()


def _well_known(name: str) -> descriptor_pb2.FileDescriptorProto | None:
    from google.protobuf import (  # noqa: F401  # noqa: F401
        any_pb2,
        api_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        source_context_pb2,
        struct_pb2,
        timestamp_pb2,
        type_pb2,
        wrappers_pb2,
    )

    try:
        found = descriptor_pool.Default().FindFileByName(name)
    except KeyError:
        return None
    file = descriptor_pb2.FileDescriptorProto()
    found.CopyToProto(file)
    return file


@functools.lru_cache(8)
def _pool(files: bytes) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(files).file:
        try:
            pool.Add(file)
        except TypeError as error:
            raise PairError(f"the schema's file '{file.name}' cannot be used: {error}") from None
    return pool


def _read_files(document: dict[str, Any], described: Descriptor, where: str) -> None:
    """In bytes fields, `@FILE` becomes the file's content as base64 ('@' is no letter of base64)."""
    fields = {name: field for field in described.fields for name in (field.name, field.json_name)}
    for name, value in document.items():
        if (field := fields.get(name)) is not None:
            document[name] = _with_files(value, field, where)


def _with_files(value: Any, field: FieldDescriptor, where: str) -> Any:
    import base64

    if isinstance(value, list):
        return [_with_files(item, field, where) for item in value]
    if field.type == field.TYPE_BYTES and isinstance(value, str) and value.startswith("@"):
        return base64.b64encode(bytes_of_file(value[1:], where)).decode()
    inner = field.message_type
    if inner is not None and isinstance(value, dict) and not inner.GetOptions().map_entry:
        _read_files(value, inner, where)
    return value


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:117]}..."
