"""Replies that are streams: which messages a body holds, where in it each is complete, and when it had come.

Over gRPC they are length-prefixed messages; over HTTP newline-delimited JSON (also RFC 7464, JSON text sequences), or
server-sent events where the content type says so, whose data is JSON. `data: [DONE]`, by which some services end their
events, is no message.
"""

from __future__ import annotations

import bisect
import re
from typing import TYPE_CHECKING, Any

from crossover.comparison.pair.sides import GRPC_HEAD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Pieces = list[tuple[bytes, int]]
"""Messages, each with the number of the body's bytes up to its end."""

_EVENTS = "text/event-stream"
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|\Z)")
_RECORD_SEPARATOR = b"\x1e"
_DONE = b"[DONE]"


def of_grpc(body: bytes) -> Pieces:
    """Length-prefixed messages (PROTOCOL-HTTP2); what is torn at the end is left out."""
    found, at = [], 0
    while at + GRPC_HEAD <= len(body):
        end = at + GRPC_HEAD + int.from_bytes(body[at + 1 : at + GRPC_HEAD], "big")
        if end > len(body):
            break
        found.append((body[at + GRPC_HEAD : end], end))
        at = end
    return found


def of_rest(body: bytes, content_type: str) -> Pieces:
    """Events or lines."""
    is_events = content_type.partition(";")[0].strip().lower() == _EVENTS
    return _events(body) if is_events else _lines(body)


def _lines(body: bytes) -> Pieces:
    found, at = [], 0
    for line in body.split(b"\n"):
        at = min(at + len(line) + 1, len(body))
        if text := line.strip().lstrip(_RECORD_SEPARATOR):
            found.append((text, at))
    return found


def _events(body: bytes) -> Pieces:
    """The data of each event (HTML Standard, "Server-sent events"): an event ends with an empty line, or it is none."""
    found: Pieces = []
    data: list[bytes] = []
    for match in _LINE.finditer(body.removeprefix(b"\xef\xbb\xbf")):
        line, end = match[1], match.end() + len(body) - len(body.removeprefix(b"\xef\xbb\xbf"))
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                data.append(value.removeprefix(b" "))
        elif match[2]:
            text, data = b"\n".join(data), []
            if text and text != _DONE:
                found.append((text, end))
    return found


def progress(pieces: Pieces, marks: Sequence[tuple[int, int]], received: Callable[[int], int]) -> tuple[int, int, int]:
    """When the first and the last message had come (0: there was none), and how many there were.

    Each mark is a moment and the number of bytes that the connection had received by then; `received` gives that number
    for a place in the body.
    """
    if not pieces:
        return 0, 0, 0
    counts = [count for _, count in marks]
    first, last = (marks[min(bisect.bisect_left(counts, received(pieces[i][1])), len(marks) - 1)][0] for i in (0, -1))
    return first, last, len(pieces)


def differences(grpc: Pieces, rest: Pieces, compared: Callable[[bytes, bytes], list[str]]) -> list[str]:
    """How two streams differ: in number, or in a message, which is named by its place."""
    if len(grpc) != len(rest):
        return [f"grpc sent {_counted(grpc)}, rest {_counted(rest)}"]
    for number, ((one, _), (other, _)) in enumerate(zip(grpc, rest, strict=True), 1):
        if said := compared(one, other):
            return [f"message {number}: {text}" for text in said]
    return []


def _counted(pieces: Sequence[Any]) -> str:
    return f"{len(pieces)} message{'s' * (len(pieces) != 1)}"
