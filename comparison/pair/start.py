"""`pair init`: a file that describes a pair, written from what the gRPC service says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison.options import UsageError
from crossover.comparison.pair import options, schema, sides
from crossover.comparison.pair.reflection import Reflection

if TYPE_CHECKING:
    import argparse

    from google.protobuf.descriptor import Descriptor, FieldDescriptor

_DEPTH = 4
_WELL_KNOWN: dict[str, Any] = {
    "google.protobuf.Timestamp": "2030-01-01T00:00:00Z", "google.protobuf.Duration": "1s", "google.protobuf.Struct": {},
    "google.protobuf.Value": None, "google.protobuf.ListValue": [], "google.protobuf.Empty": {},
    "google.protobuf.FieldMask": "", "google.protobuf.StringValue": "text", "google.protobuf.BytesValue": "",
    "google.protobuf.BoolValue": True, "google.protobuf.DoubleValue": 0.5, "google.protobuf.FloatValue": 0.5,
    "google.protobuf.Int32Value": 1, "google.protobuf.Int64Value": "1", "google.protobuf.UInt32Value": 1,
    "google.protobuf.UInt64Value": "1",
}  # fmt: skip


def write(given: argparse.Namespace) -> int:
    """Write the file, or print it where no --out says where to; 0."""
    if not (given.grpc or "").strip():
        raise UsageError("pair init needs --grpc HOST:PORT, and --call where the service has more than one method")
    text = _text(given)
    if given.out is None:
        print(text, end="")
        return 0
    path = Path(given.out)
    if path.exists():
        raise UsageError(f"pair init: '{path}' exists already; give another --out")
    try:
        path.write_text(text)
    except OSError as error:
        raise UsageError(f"pair init: '{path}' cannot be written: {error.strerror}") from None
    print(f"{path} is written; fill in what it marks, then: python -m comparison pair {path} --dry-run")
    return 0


def _text(given: argparse.Namespace) -> str:
    rest = given.rest or "POST http://127.0.0.1:8000/v1/METHOD"
    given.rest = rest
    grpc, _ = options.both_sides(given)
    given.call = given.call or _only_method(given, grpc)
    found = schema.Method(options.schema_of(given, lambda: grpc))
    data = json.dumps(_example(found.descriptor.input_type, 0), ensure_ascii=False)
    lines = [
        "# A pair for `python -m comparison pair FILE`. Keys are the flags' names: python -m comparison pair --help",
        f"grpc: {_quoted(given.grpc)}",
        f"call: {found.schema.service}/{found.schema.method}",
        f"grpc-data: {_quoted(data)}",
        *(f"{name}: {_quoted(getattr(given, name.replace('-', '_')))}" for name in ("proto", "import-path", "protoset")
          if getattr(given, name.replace("-", "_"))),
        f"rest: {_quoted(rest)}" + ("" if rest == given.rest and "METHOD" not in rest else "  # fill in"),
        f"rest-data: {_quoted(data)}",
        *(["stream: true"] if given.stream else []),
        "# data: rows.jsonl                           # rows for {{name}} in the templates",
        "# same: ['grpc.message == rest.message']     # default: the whole replies are the same",
        "# rate: [200]                                # default: 0.3 of what the slower side can take",
        f"connections: [{options.CONNECTIONS}]",
        f"blocks: {options.BLOCKS}",
        "# cases:                                     # payload sizes make a crossover",
        "#   - {name: small, weight: 9, grpc-data: '{...}', rest-data: '{...}'}",
        "#   - {name: large, weight: 1, grpc-data: '{...}', rest-data: '{...}'}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _quoted(value: Any) -> str:
    """YAML that is JSON, which every YAML reader reads."""
    return json.dumps(value, ensure_ascii=False)


def _only_method(given: argparse.Namespace, grpc: sides.GrpcSide) -> str:
    """The service's only unary method, with --stream its only one that answers with a stream; UsageError lists those that
    it has.
    """
    if given.proto or given.protoset:
        raise UsageError("pair init needs --call pkg.Service/Method where --proto or --protoset describe the service")
    reflection = Reflection(grpc)
    found = [
        f"{service}/{method.name}"
        for service in reflection.services()
        for method in schema.methods_of(reflection.files(service), service)
        if method.server_streaming == given.stream and not method.client_streaming
    ]
    if len(found) == 1:
        return found[0]
    kind = "server-streaming" if given.stream else "unary"
    raise UsageError(f"pair init: choose one with --call: {', '.join(found) or f'the service has no {kind} method'}")


def _example(described: Descriptor, depth: int) -> dict[str, Any]:
    """A request with a value in every field, for somebody to change; of a oneof only the first field."""
    found: dict[str, Any] = {}
    taken: set[str] = set()
    for field in described.fields:
        oneof = field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1:
            if oneof.name in taken:
                continue
            taken.add(oneof.name)
        found[field.name] = _value(field, depth)
    return found


def _value(field: FieldDescriptor, depth: int) -> Any:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return {}
    value = _single(field, depth)
    return ([] if value is None else [value]) if field.is_repeated else value


def _single(field: FieldDescriptor, depth: int) -> Any:
    if field.message_type is not None:
        name = field.message_type.full_name
        if name in _WELL_KNOWN:
            return _WELL_KNOWN[name]
        return _example(field.message_type, depth + 1) if depth < _DEPTH else {}
    if field.enum_type is not None:
        return field.enum_type.values[0].name
    kinds = {field.TYPE_STRING: field.name, field.TYPE_BYTES: "", field.TYPE_BOOL: True, field.TYPE_DOUBLE: 0.5,
             field.TYPE_FLOAT: 0.5}  # fmt: skip
    return kinds.get(field.type, 1)
