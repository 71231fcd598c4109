"""What was said on both hops of a prediction, for who wants to see it: the caller's HTTP and the gateway's own call.

Of header fields whose names are not known to be harmless the values are not kept (shown_fields.py), nor is a query, which
means nothing here; long bodies are cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.propagation import REQUEST_ID
from crossover.protocol.recording import Recording
from crossover.protocol.wires import WIRES
from crossover.rest_gateway.predictions import messages
from crossover.rest_gateway.predictions.shown_fields import NOT_KEPT, shown
from crossover.service.log import request_id

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from crossover.protocol.inference import CallContext

SHOWN_BYTES = 16 << 10


def http_half(request: Request, body: bytes, response: Response) -> str:
    """The caller's request and the gateway's answer, as JSON text."""
    identity = request_id.get()
    identity_field = [(REQUEST_ID, identity)] if identity else []
    query = f"?{NOT_KEPT}" if request.url.query else ""
    return dumps(
        {
            "request": {
                "method": request.method,
                "target": f"{request.url.path}{query}",
                "version": f"HTTP/{request.scope.get('http_version', '1.1')}",
                "headers": shown(request.headers.items()),
                **_shown_body(body),
            },
            "response": {
                "status": response.status_code,
                "headers": shown([*response.headers.items(), *identity_field]),
                **_shown_body(bytes(response.body)),
            },
        }
    ).decode()


def upstream_half(upstream: str, context: CallContext) -> str:
    """The gateway's own call as JSON text, from what its client recorded: the message and what travelled beside it."""
    kind = WIRES[upstream].kind if upstream in WIRES else "process"
    recording = context.recording or Recording()
    halves = messages.SHOWN[kind](recording)
    halves["request"]["message_bytes"] = len(recording.request)
    halves["response"]["message_bytes"] = len(recording.reply)
    return dumps({"name": upstream, "kind": kind, **halves}).decode()


def _shown_body(body: bytes) -> dict[str, Any]:
    shown = body[:SHOWN_BYTES].decode("utf-8", "replace")
    return {"body_bytes": len(body), "body": shown, "body_cut": len(body) > SHOWN_BYTES}
