"""Whether the two services gave the same answer: what `--same` says.

    (nothing)                       the reply's proto3 JSON equals the body
    grpc.message == rest.message    two dotted paths; `items[0].id` or `items.0.id` goes into lists, `items[*].id` into all
    grpc.ok == true                 a path and a JSON value
    oip                             the tensors of two Open Inference Protocol replies

Several rules must all hold. Numbers may differ by `--tolerance`, of their size or absolutely; an int64 may be text.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format

from crossover.comparison.pair import documents, stream
from crossover.comparison.pair.errors import PairError, readable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.pair.schema import Method

OIP = "oip"
_MOST_TOLD = 5
_PATH = re.compile(r"(grpc|rest)((?:\.[^.\[\]\s]+|\[\d+\]|\[\*\])*)")
_STEP = re.compile(r"\.([^.\[\]\s]+)|\[(\d+|\*)\]")
_NUMBER = re.compile(r"-?(?:Infinity|(0|[1-9][0-9]*)(\.[0-9]+|(?:\.[0-9]+)?[eE][-+]?[0-9]+)?)|NaN")
"""A number as proto3 JSON has it in text: digits, and what follows where it is no integer."""
_GZIP = b"\x1f\x8b"
_ALL = "*"
_MISSING = object()


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """What a gRPC service answered: the code's name, and the message where there is one; of a stream all, as they came."""

    code: str
    text: str
    message: bytes | None


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """What an HTTP service answered."""

    status: int
    body: bytes
    content_type: str = ""
    binary_header: str | None = None
    """`Inference-Header-Content-Length` of the Open Inference Protocol."""


@dataclass(frozen=True, slots=True)
class _Path:
    """A value of a reply, or a JSON value that stands for itself."""

    text: str
    side: str
    """`grpc`, `rest`, or empty for a value."""
    steps: tuple[str, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Two paths whose values must be the same."""

    left: _Path
    right: _Path


@dataclass(frozen=True, slots=True)
class Same:
    """What makes two answers the same; rules are empty for the default, `oip` compares tensors."""

    rules: tuple[Rule, ...] = ()
    oip: bool = False
    tolerance: float = 0.0

    def differences(self, method: Method, grpc: GrpcAnswer, rest: RestAnswer) -> list[str]:
        """How the two answers differ, at most some sentences; empty when they are the same.

        Streams hold their messages as they came, and are compared message by message.
        """
        if not method.schema.stream:
            return self._of_messages(method, grpc, rest)
        if grpc.message is None:
            return []
        return stream.differences(
            stream.of_grpc(grpc.message),
            stream.of_rest(rest.body, rest.content_type),
            lambda one, other: self._of_messages(method, replace(grpc, message=one), replace(rest, body=other)),
        )

    def _of_messages(self, method: Method, grpc: GrpcAnswer, rest: RestAnswer) -> list[str]:
        if self.oip:
            return self._tensors(grpc, rest)
        if grpc.message is None:
            return []
        body = json_of(rest)
        if body is _MISSING:
            return [_no_json(rest.body)]
        try:
            message = method.decoded(grpc.message)
            if not self.rules:
                return self._whole(method, message, body)
            sides = {"grpc": method.as_json(message, defaults=True), "rest": body}
            return [text for rule in self.rules if (text := self._broken(rule, sides))]
        except PairError as error:
            return [str(error)]

    def _broken(self, rule: Rule, sides: dict[str, Any]) -> str:
        left, right = (_found(path, sides) for path in (rule.left, rule.right))
        for path, value in ((rule.left, left), (rule.right, right)):
            if value is _MISSING:
                return f"{path.text} is not in the reply"
        first = next(iter(_unequal(left, right, "", self.tolerance)), None)
        if first is None:
            return ""
        at, one, other = first
        return f"{rule.left.text}{at} is {_said(one)}, {rule.right.text}{at} is {_said(other)}"

    def _whole(self, method: Method, message: Any, body: Any) -> list[str]:
        """Proto3 JSON against the body, read as the same type: so spellings, int64 as text and defaults are alike."""
        try:
            other = method.parsed_reply(body)
        except (json_format.Error, AttributeError, TypeError, ValueError) as error:
            said = readable(str(error)) if isinstance(body, dict) else f"it is {_said(body)}"
            return [f"the body is no {method.descriptor.output_type.full_name}: {said}"]
        if message == other:
            return []
        pairs = _unequal(
            method.as_json(message, defaults=True), method.as_json(other, defaults=True), "", self.tolerance
        )
        return [f"grpc{at} is {_said(one)}, rest{at} is {_said(two)}" for at, one, two in _first(pairs)]

    def _tensors(self, grpc: GrpcAnswer, rest: RestAnswer) -> list[str]:
        import numpy as np

        from crossover.protocol.codecs.binary import codec as binary_codec
        from crossover.protocol.codecs.protobuf import codec as protobuf_codec
        from crossover.protocol.errors import InferenceError

        try:
            length = binary_codec.header_length(rest.binary_header, len(rest.body))
            right = {tensor.name: tensor for tensor in binary_codec.decode_response(rest.body, length).outputs}
            left = {tensor.name: tensor for tensor in protobuf_codec.decode_response(grpc.message or b"").outputs}
        except InferenceError as error:
            return [f"--same oip: a reply is no inference reply: {error.message}"]
        if left.keys() != right.keys():
            return [f"grpc has outputs {', '.join(sorted(left))}, rest has {', '.join(sorted(right))}"]
        said: list[str] = []
        for name, one in left.items():
            other = right[name]
            if (one.datatype.name, list(one.shape)) != (other.datatype.name, list(other.shape)):
                said.append(f"output '{name}' is {one.datatype.name} {list(one.shape)} over grpc, "
                            f"{other.datatype.name} {list(other.shape)} over rest")  # fmt: skip
            elif bytes(one.raw) != bytes(other.raw):
                a, b = one.array.ravel(), other.array.ravel()
                if a.dtype.kind in "fiu" and np.allclose(a, b, self.tolerance, self.tolerance, equal_nan=True):
                    continue
                at = int((a != b).argmax())
                said.append(f"output '{name}' differs, first at element {at}: {a[at]} over grpc, {b[at]} over rest")
        return said


def parsed(texts: Sequence[str], tolerance: float) -> Same:
    """What the options say; PairError names the rule that is none."""
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise PairError(f"--tolerance takes a number from 0 on, not {tolerance:g}")
    rules = [part for text in texts for part in re.split(r"\s+and\s+", text.strip())]
    if OIP in rules:
        if len(rules) > 1:
            raise PairError("--same oip compares whole replies; it does not go with other rules")
        return Same(oip=True, tolerance=tolerance)
    return Same(tuple(_rule(text) for text in rules), tolerance=tolerance)


def _rule(text: str) -> Rule:
    left, sign, right = text.partition("==")
    if not sign or "==" in right:
        raise PairError(f"--same '{text}' is no rule; write for example 'grpc.message == rest.message', or oip")
    rule = Rule(_path(left.strip(), text), _path(right.strip(), text))
    if not rule.left.side and not rule.right.side:
        raise PairError(f"--same '{text}' compares two values; one side must begin with grpc or rest")
    return rule


def _path(text: str, rule: str) -> _Path:
    if match := _PATH.fullmatch(text):
        return _Path(text, match[1], tuple(name or index for name, index in _STEP.findall(match[2])))
    try:
        return _Path(text, "", value=documents.read(text))
    except ValueError:
        raise PairError(
            f"--same '{rule}': '{text}' is neither a path that begins with grpc. or rest. nor a JSON value"
        ) from None


def _found(path: _Path, sides: dict[str, Any]) -> Any:
    return _at(sides[path.side], path.steps) if path.side else path.value


def _at(value: Any, steps: Sequence[str]) -> Any:
    for place, step in enumerate(steps):
        if isinstance(value, list):
            if step == _ALL:
                inner = [_at(item, steps[place + 1 :]) for item in value]
                return _MISSING if _MISSING in inner else inner
            if not step.isdigit() or int(step) >= len(value):
                return _MISSING
            value = value[int(step)]
        elif isinstance(value, dict):
            value = next((value[name] for name in (step, _camel(step), _snake(step)) if name in value), _MISSING)
            if value is _MISSING:
                return _MISSING
        else:
            return _MISSING
    return value


def _camel(name: str) -> str:
    return re.sub(r"_+([a-zA-Z0-9])", lambda match: match[1].upper(), name)


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name)


def _unequal(one: Any, other: Any, at: str, tolerance: float) -> list[tuple[str, Any, Any]]:
    """Where two JSON values differ, with both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        found: list[tuple[str, Any, Any]] = []
        spelled = {_camel(name): name for name in other}
        for name, value in one.items():
            twin = name if name in other else spelled.pop(_camel(name), None)
            spelled.pop(_camel(name), None)
            found += (
                [(f"{at}.{name}", value, _MISSING)]
                if twin is None
                else _unequal(value, other[twin], f"{at}.{name}", tolerance)
            )
        return found + [(f"{at}.{name}", _MISSING, other[name]) for name in spelled.values()]
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return [(at, f"a list of {len(one)}", f"a list of {len(other)}")]
        return [
            found
            for place, pair in enumerate(zip(one, other, strict=True))
            for found in _unequal(*pair, f"{at}[{place}]", tolerance)
        ]
    return [] if _alike(one, other, tolerance) else [(at, one, other)]


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if one == other:
        return True
    if isinstance(one, str) and isinstance(other, str):
        return False
    a, b = _number(one), _number(other)
    if a is None or b is None:
        return False
    if isinstance(a, int) and isinstance(b, int) and not tolerance:
        return a == b
    try:
        return math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b))
    except OverflowError:  # an integer beyond every double
        return a == b


def _number(value: Any) -> int | float | None:
    """A number, also where it is text: proto3 JSON writes 64-bit integers so, and NaN and infinities."""
    if isinstance(value, int | float):
        return value
    if not isinstance(value, str) or not (match := _NUMBER.fullmatch(value)):
        return None
    try:
        return float(value) if match[1] is None or match[2] else int(value)
    except ValueError:  # more digits than Python reads
        return None


def json_of(rest: RestAnswer) -> Any:
    """The body as a JSON value; `_MISSING` when it is none."""
    try:
        return documents.read(rest.body) if rest.body else {}
    except ValueError:
        return _MISSING


def _no_json(body: bytes) -> str:
    if body.startswith(_GZIP):
        return "the body is compressed (gzip) although the request does not accept that"
    return f"the body is not JSON: {_short(readable(body))}"


def is_json(rest: RestAnswer) -> bool:
    return json_of(rest) is not _MISSING


def _first(pairs: Sequence[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    return list(pairs[:_MOST_TOLD])


def _said(value: Any) -> str:
    return "missing" if value is _MISSING else _short(json.dumps(value, ensure_ascii=False))


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
