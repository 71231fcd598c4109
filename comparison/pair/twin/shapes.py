"""What JSON documents look like together, and the .proto that carries them: what is sent as JSON comes back as the same JSON.

Integers are int64 (uint64 beyond), other numbers double, what is null or missing at times has presence, what has two
kinds, or lists in lists, is a `google.protobuf.Value`. Objects whose keys are data (no identifiers, or very many) are maps.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crossover.comparison.pair.errors import PairError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

_VALUE = "google.protobuf.Value"
_NAME = re.compile(r"[^\W\d][^\x00-\x1f\"\\]*")
"""A key that names a field; others, as dates and numbers, are data."""
_MOST_FIELDS = 200
_DEPTH = 30
_LARGEST_SIGNED = (1 << 63) - 1


@dataclass(slots=True)
class Shape:
    """What was seen of one place in many documents."""

    kinds: set[str] = field(default_factory=set)
    """Of `object`, `array`, `string`, `bool`, `int`, `float`, `null`."""
    fields: dict[str, Shape] = field(default_factory=dict)
    always: set[str] | None = None
    """Fields that every object had; None before the first."""
    items: Shape | None = None
    unsigned: bool = False
    """An integer needs 64 bits without a sign."""
    huge: bool = False
    """An integer needs more."""

    def see(self, value: Any) -> None:
        """Learn from one document."""
        match value:
            case None:
                self.kinds.add("null")
            case bool():
                self.kinds.add("bool")
            case int():
                self._see_integer(value)
            case float():
                self.kinds.add("float")
            case str():
                self.kinds.add("string")
            case list():
                self.kinds.add("array")
                self.items = self.items or Shape()
                for item in value:
                    self.items.see(item)
            case dict():
                self._see_fields(value.keys())
                for name, inner in value.items():
                    self.fields[name].see(inner)

    def _see_integer(self, value: int) -> None:
        self.kinds.add("int")
        self.unsigned |= value > _LARGEST_SIGNED
        self.huge |= value > 2 * _LARGEST_SIGNED + 1 or value < -_LARGEST_SIGNED - 1

    def _see_fields(self, names: Iterable[str]) -> None:
        names = set(names)
        self.kinds.add("object")
        self.always = names if self.always is None else self.always & names
        for name in sorted(names - self.fields.keys()):
            self.fields[name] = Shape()

    def see_schema(self, schema: Any, document: dict[str, Any], depth: int = 0) -> None:
        """Learn from a JSON Schema of an OpenAPI `document`: what a recording did not hold, and what may be missing."""
        schema = _resolved(schema, document)
        if not isinstance(schema, dict) or depth > _DEPTH:
            return
        for part in schema.get("allOf", []):
            self.see_schema(part, document, depth + 1)
        for part in (*schema.get("anyOf", []), *schema.get("oneOf", [])):
            self.see_schema(part, document, depth + 1)
        kinds = schema.get("type", "object" if "properties" in schema else [])
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            self._see_kind(kind, schema, document, depth)
        if schema.get("nullable") is True:
            self.kinds.add("null")

    def _see_kind(self, kind: str, schema: dict[str, Any], document: dict[str, Any], depth: int) -> None:
        plain = {"string": "string", "integer": "int", "number": "float", "boolean": "bool", "null": "null"}
        if kind in plain:
            self.kinds.add(plain[kind])
        elif kind == "array":
            self.kinds.add("array")
            self.items = self.items or Shape()
            self.items.see_schema(schema.get("items", {}), document, depth + 1)
        elif kind == "object" and isinstance(schema.get("properties"), dict):
            self._see_fields(schema["properties"])
            self.always = (self.always or set()) & set(schema.get("required", []))
            for name, inner in schema["properties"].items():
                self.fields[name].see_schema(inner, document, depth + 1)


def _resolved(schema: Any, document: dict[str, Any]) -> Any:
    """What a `$ref` within the document points to (RFC 6901)."""
    for _ in range(_DEPTH):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        schema = document
        for part in reference[2:].split("/"):
            schema = schema.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(schema, dict) else {}
    return {}


class Contract:
    """A .proto file with one service of one unary method."""

    def __init__(self, package: str, service: str, method: str) -> None:
        self._package, self._service, self._method = package, service, method
        self._messages: list[str] = []
        self._names: set[str] = {service}
        self._imports = False

    @property
    def call(self) -> str:
        return f"{self._package}.{self._service}/{self._method}"

    def text(self, request: Shape, reply: Shape) -> str:
        """The file for these two shapes of objects."""
        for shape in (request, reply):
            if wrong := [key for key in shape.fields if not key or key.startswith("[") or not key.isprintable()]:
                raise PairError(f"pair twin: protobuf has no field for the JSON key {json.dumps(wrong[0])}")
        asked = self._message(request, f"{self._method}Request")
        answered = self._message(reply, f"{self._method}Reply")
        head = f'// Written by `pair twin` from recorded JSON.\nsyntax = "proto3";\n\npackage {self._package};\n\n'
        if self._imports:
            head += 'import "google/protobuf/struct.proto";\n\n'
        service = f"service {self._service} {{\n  rpc {self._method}({asked}) returns ({answered});\n}}\n\n"
        return head + service + "\n".join(self._messages)

    def _message(self, shape: Shape, wanted: str) -> str:
        name = _unique(wanted, self._names)
        place = len(self._messages)
        lines = []
        used: set[str] = set()
        for number, (key, inner) in enumerate(shape.fields.items(), 1):
            own = _field_name(key, used, shape.fields.keys() - {key})
            kind, has_presence = self._kind(inner, f"{name}{_pascal(key)}")
            optional = (
                "optional " if has_presence and (key not in (shape.always or ()) or "null" in inner.kinds) else ""
            )
            spelled = "" if _camel(own) == key else f" [json_name = {json.dumps(key)}]"
            lines.append(f"  {optional}{kind} {own} = {number}{spelled};\n")
        self._messages.insert(place, f"message {name} {{\n{''.join(lines)}}}\n")
        return name

    def _kind(self, shape: Shape, name: str) -> tuple[str, bool]:
        """A field's type, and whether `optional` gives it presence (messages and lists have their own way)."""
        kinds = shape.kinds - {"null"}
        if kinds == {"object"}:
            return self._object(shape, name), False
        if kinds == {"array"}:
            items = shape.items or Shape()
            if items.kinds == {"object"} or (len(items.kinds) == 1 and not items.kinds & {"array", "null"}):
                kind, _ = self._kind(items, name)
                return (f"repeated {self._value()}" if kind.startswith("map<") else f"repeated {kind}"), False
            if items.kinds == {"int", "float"}:
                return "repeated double", False
            return f"repeated {self._value()}", False
        if kinds == {"int"} and not shape.huge:
            return ("uint64" if shape.unsigned else "int64"), True
        if kinds and kinds <= {"int", "float"}:
            return "double", True
        if kinds in ({"string"}, {"bool"}):
            return next(iter(kinds)), True
        return self._value(), False

    def _object(self, shape: Shape, name: str) -> str:
        if len(shape.fields) <= _MOST_FIELDS and all(map(_NAME.fullmatch, shape.fields)):
            return self._message(shape, name)
        together = Shape()
        for inner in shape.fields.values():
            together.kinds |= inner.kinds
            together.unsigned |= inner.unsigned
            together.huge |= inner.huge
        if together.kinds & {"object", "array", "null"}:
            return f"map<string, {self._value()}>"
        return f"map<string, {self._kind(together, name)[0]}>"

    def _value(self) -> str:
        self._imports = True
        return _VALUE


def _unique(wanted: str, used: set[str]) -> str:
    name, number = wanted, 2
    while name in used:
        name, number = f"{wanted}_{number}", number + 1
    used.add(name)
    return name


def _field_name(key: str, used: set[str], others: AbstractSet[str]) -> str:
    """A name that neither itself nor as protoc spells it in JSON is another field's."""
    wanted = name = _snake(key)
    number = 2
    while {name, _camel(name)} & (used | others):
        name, number = f"{wanted}_{number}", number + 1
    used |= {name, _camel(name)}
    return name


def _words(text: str) -> list[str]:
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", text)
    return [word for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]


def _snake(text: str) -> str:
    name = "_".join(_words(text)).lower() or "field"
    return name if name[0].isalpha() else f"n{name}"


def _pascal(text: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in _words(text)) or "Field"


def _camel(name: str) -> str:
    """The JSON name that protoc gives a field."""
    return re.sub(r"_+([A-Za-z0-9])", lambda match: match[1].upper(), name)


def method_name(path: str) -> str:
    """A method's name from the last words of a URL's path; versions and places in braces say nothing."""
    parts = [part for part in path.split("/") if part and "{{" not in part and not re.fullmatch(r"v\d+", part)]
    name = _pascal(parts[-1]) if parts else ""
    return name if name[:1].isalpha() else f"Call{name}"
