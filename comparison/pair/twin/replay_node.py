"""Gives a recording to the replaying servers in Node.js (`node/`), as tables that need no descriptors of their own there."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison.options import UsageError
from crossover.comparison.pair import schema
from crossover.comparison.pair.twin import recording

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

HERE = Path(__file__).resolve().with_name("node")


def check() -> None:
    """UsageError where Node.js or the servers' packages are missing."""
    if shutil.which("node") is None:
        raise UsageError("--language node: there is no Node.js here; on Debian: apt-get install nodejs npm")
    if not (HERE / "node_modules").is_dir():
        raise UsageError(f"--language node: the servers' packages are missing: npm ci --prefix {HERE}")


def write(folder: Path) -> None:
    """Write `node.json` for the recording in `folder`."""
    route, call, recorded = recording.read(folder)
    method = schema.Method(schema.from_protoset([str(folder / "twin.protoset")], call))
    is_message = all(one.body is None or one.body == one.message for one in recorded)
    document = {
        "service": method.schema.service,
        "method": method.schema.method,
        "route": {"method": route.method, "path": route.path, "status": route.status, "has_body": route.has_body},
        "schemas": {
            "body": schema_of(method.descriptor.input_type) if route.has_body and is_message else None,
            "reply": schema_of(method.descriptor.output_type)
            if all(isinstance(one.reply, dict) for one in recorded)
            else None,
        },
        "rows": [_row(method, one, has_body=route.has_body) for one in recorded],
    }
    (folder / "node.json").write_text(json.dumps(document) + "\n")


def _row(method: schema.Method, one: recording.Recorded, *, has_body: bool) -> dict[str, Any]:
    asked = method.request(recording.canonical(one.message), "the recording")
    return {
        "grpc": {"request": _as_text(asked), "reply": _as_text(method.parsed_reply(one.reply_message))},
        "rest": {
            "target": one.target,
            "text": recording.canonical(one.body) if has_body else "",
            "reply": one.reply,
        },
        "ms": one.service_ms,
    }


def _as_text(message: Message) -> str:
    return base64.b64encode(message.SerializeToString(deterministic=True)).decode()


def schema_of(described: Descriptor, within: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON Schema of a message; anything for well-known types and for what contains itself."""
    if described.full_name in within or described.file.package == "google.protobuf":
        return {}
    inside = (*within, described.full_name)
    properties = {field.json_name: _schema(field, inside) for field in described.fields}
    return {"type": "object", "properties": properties, "additionalProperties": True}


def _schema(field: FieldDescriptor, within: tuple[str, ...]) -> dict[str, Any]:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _one(inner.fields_by_name["value"], within)}
    found = _one(field, within)
    if field.is_repeated:
        return {"type": "array", "items": found}
    return {**found, "nullable": True} if "type" in found else found


def _one(field: FieldDescriptor, within: tuple[str, ...]) -> dict[str, Any]:
    """A value's schema; numbers of 64 bits are text in proto3 JSON, as are doubles that are none."""
    if field.message_type is not None:
        return schema_of(field.message_type, within)
    kinds: dict[int, Any] = {field.TYPE_STRING: "string", field.TYPE_BYTES: "string", field.TYPE_BOOL: "boolean"}
    kind = kinds.get(field.type)
    return {"type": kind} if kind else {}
