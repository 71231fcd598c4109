"""`Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a repeated POST makes nothing a second time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from crossover.protocol.errors import Code
from crossover.rest_gateway.api.problems import RETRY_SECONDS, Problem, bad_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.rest_gateway.predictions.orders import Order
    from crossover.rest_gateway.predictions.store import KeyUse, StoredReply

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


def fingerprint(orders: Sequence[Order], *, single: bool) -> str:
    """A digest of what a body asks for, whatever the order of its members, its white space and how it writes numbers."""
    digest = hashlib.blake2b(b"1" if single else b"n", digest_size=32)
    for order in orders:
        heads = [(tensor.name, tensor.datatype.name, tensor.shape, tensor.nbytes) for tensor in order.tensors]
        content = (order.model, order.version, order.upstream, order.parameters, order.label, order.note, heads)
        text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        digest.update(len(text).to_bytes(8))
        digest.update(text)
        for tensor in order.tensors:
            digest.update(tensor.raw)
    return digest.hexdigest()


def earlier_reply(use: KeyUse, own_fingerprint: str) -> StoredReply | None:
    """None when the key is ours to use; 422 for another body under it, 409 while the first request still runs."""
    if use.fingerprint is None:
        return None
    if use.fingerprint != own_fingerprint:
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
