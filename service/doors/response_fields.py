"""Security header fields of every reply, so that a browser treats it as data and nothing else."""

from __future__ import annotations

Field = tuple[bytes, bytes]

SECURITY: tuple[Field, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""What is no page loads nothing and is shown in no frame; pages say more themselves (rest_gateway/page)."""
NO_STORE: Field = (b"cache-control", b"no-store")
"""Where keys matter: what one caller may read is not kept for another (RFC 9111 3.5, 5.2.2.5)."""
