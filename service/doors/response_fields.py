"""Header fields of every reply, so that a browser makes nothing of it but what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Field = tuple[bytes, bytes]

SECURITY: tuple[Field, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""What is no page loads nothing and is shown in no frame; pages say more themselves (rest_gateway/page)."""
NO_STORE: Field = (b"cache-control", b"no-store")
"""Where keys matter: what one caller may read is not kept for another (RFC 9111 3.5, 5.2.2.5)."""
_JOINED = frozenset({b"vary"})
"""Lists: what the application says and what we add both hold (RFC 9110 5.3)."""


def merged(own: Sequence[Field], added: Iterable[Field]) -> list[Field]:
    """A reply's own fields, and those of `added` that it does not say itself."""
    said = {name.lower() for name, _ in own}
    return [*own, *(field for field in added if field[0] in _JOINED or field[0] not in said)]
