"""Which header fields and metadata an exchange shows: a list of what is known to hold no secret.

Credentials travel under names that nobody can list; so what is not named here is kept by its name alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NOT_KEPT = "(not kept)"
KEPT = frozenset({
    # about the message and its representation (RFC 9110 8, 12; RFC 9112)
    "accept", "accept-encoding", "accept-language", "accept-patch", "accept-post", "allow", "connection", "content-encoding",
    "content-language", "content-length", "content-type", "date", "expect", "host", "keep-alive", "te", "trailer",
    "transfer-encoding", "user-agent", "vary", "location", "link", "age", "cache-control", "expires", "pragma", "warning",
    # conditions and preferences (RFC 9110 13, RFC 7240)
    "etag", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since", "last-modified", "prefer",
    "preference-applied", "retry-after",
    # from which kind of page (Fetch Metadata); the origin is a name, not a secret
    "origin", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user",
    # traces (W3C Trace Context)
    "traceparent", "tracestate", "x-request-id",
    # ours and OIP's
    "inference-header-content-length", "inference-timeout-ms", "inference-upstream", "inference-timeline", "server-timing",
    "ratelimit", "ratelimit-policy",
    # what our own replies always say
    "content-security-policy", "cross-origin-resource-policy", "referrer-policy", "x-content-type-options",
    # gRPC's (PROTOCOL-HTTP2)
    ":method", ":scheme", ":authority", ":path", ":status",
    "grpc-accept-encoding", "grpc-encoding", "grpc-message", "grpc-status", "grpc-status-details-bin", "grpc-timeout",
})  # fmt: skip


def shown(fields: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Every field's name, and its value where it is kept."""
    return [[name, value if name.lower() in KEPT else NOT_KEPT] for name, value in fields]
