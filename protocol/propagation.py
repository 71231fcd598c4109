"""The headers that travel with a call from service to service: W3C Trace Context and the request's id.

A value that one wire carries can break another: gRPC's metadata takes printable ASCII (PROTOCOL-HTTP2.md, ASCII-Value), an
HTTP header takes TAB and bytes over 0x7f too, and a peer may refuse the whole call, or end a connection that others share,
for a header block that is too large. So every client brings every value into one form, which all wires carry, before it
sends it on:
`traceparent` and `tracestate` are dropped when they have another form (no trace is better than a wrong one),
`x-request-id` is percent-encoded (RFC 3986 2.1), since its purpose is to be found again in logs. The limits together
stay below the 8 KiB of metadata that gRPC servers take by default.

A request that brings no usable `x-request-id` gets one where it comes in (`request_id_of`); the reply says it.
"""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMITS = {"traceparent": 512, "tracestate": 4096, "x-request-id": 1024}
"""Names in lower case, and the longest value in bytes that goes on. W3C asks for at least 512 of tracestate (3.3.1.5)."""
PROPAGATED = tuple(LIMITS)
REQUEST_ID = "x-request-id"
_process_part, _numbers = "", itertools.count(1)
_PRINTABLE = re.compile(r"[ -~]*")
_ENDS_LINE = re.compile(r"[\r\n\0]")
"""Characters that no header's value may hold (RFC 9110 5.5): they could forge another header."""
_ESCAPED = re.compile(rb"[^ -~]")


def propagated(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of `headers` (lower-case names) that go on with the call, in the form that every wire carries.

    It is idempotent.
    """
    fields: dict[str, str] = {}
    for name, limit in LIMITS.items():
        value = headers.get(name)
        if value is None:
            continue
        value = value.strip(" ")
        if _PRINTABLE.fullmatch(value) is None:
            if name != REQUEST_ID or _ENDS_LINE.search(value):
                continue
            value = _percent_encoded(value)
        if 0 < len(value) <= limit:
            fields[name] = value
    return fields


def request_id_of(value: str | None) -> str:
    """The id of a request: what its header says, in the form that `propagated` gives it, else a new one."""
    if value is None:
        return new_request_id()
    return propagated({REQUEST_ID: value}).get(REQUEST_ID) or new_request_id()


def new_request_id() -> str:
    """24 hexadecimal digits: 14 random ones of this process, and a counter. A random id a request costs several times more."""
    return f"{_process_part}{next(_numbers):010x}"


def _begin_ids() -> None:
    global _process_part, _numbers
    _process_part, _numbers = os.urandom(7).hex(), itertools.count(1)


_begin_ids()
os.register_at_fork(after_in_child=_begin_ids)


def _percent_encoded(value: str) -> str:
    """Bytes that are not printable ASCII as %XX; a header's text stands for the bytes that came (latin-1)."""
    try:
        data = value.encode("latin-1")
    except UnicodeEncodeError:
        data = value.encode("utf-8", "replace")
    return _ESCAPED.sub(lambda byte: b"%%%02X" % byte[0][0], data).decode("ascii")
