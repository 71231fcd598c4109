"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a repeated POST makes nothing a second time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from crossover.protocol.errors import Code
from crossover.rest_gateway.api.problems import RETRY_SECONDS, Problem, bad_request

if TYPE_CHECKING:
    from crossover.rest_gateway.predictions.store import KeyUse, Reply

HEADER = "Idempotency-Key"
LONGEST = 255


def read_key(header: str | None) -> str | None:
    """The key, quoted as the draft says or bare; 400 when it is empty or too long."""
    if header is None:
        return None
    text = header.strip()
    key = text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text
    if not 0 < len(key) <= LONGEST:
        raise bad_request(f"header {HEADER} has {len(key)} characters; it takes 1 to {LONGEST}")
    return key


def fingerprint(document: dict[str, Any]) -> str:
    """A digest of what a body says, whatever the order of its members and its white space."""
    return hashlib.blake2b(orjson.dumps(document, option=orjson.OPT_SORT_KEYS), digest_size=32).hexdigest()


def earlier_reply(use: KeyUse, wanted: str) -> Reply | None:
    """None when the key is ours to use; 422 for another body under it, 409 while the first request still runs."""
    if use.fingerprint is None:
        return None
    if use.fingerprint != wanted:
        raise Problem(
            422, Code.INVALID_ARGUMENT, f"this {HEADER} was used with another body; take a new key for a new request"
        )
    if use.reply is None:
        raise Problem(
            409,
            Code.ABORTED,
            f"the first request with this {HEADER} is still running; ask again shortly",
            {"Retry-After": str(RETRY_SECONDS)},
        )
    return use.reply
