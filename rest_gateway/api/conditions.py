"""Entity tags and conditional requests (RFC 9110, 8.8.3 and 13). Nothing here does I/O.

Entity tags under ``/api`` are strong, so `If-Match` compares strongly and `If-None-Match` weakly, as the RFC says.
"""

from __future__ import annotations

import hashlib
import re

from crossover.protocol.errors import Code
from crossover.rest_gateway.api.problems import Problem, bad_request

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_LIST = re.compile(rf"\s*{_TAG.pattern}\s*(,\s*{_TAG.pattern}\s*|,\s*)*")


def tag_of(content: bytes) -> str:
    """A strong entity tag for exactly these bytes."""
    return f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'


def check_match(if_match: str | None, current: str) -> None:
    """412 unless `If-Match` is absent, ``*`` or names the current tag."""
    if if_match is None or if_match.strip() == "*":
        return
    if current not in _strong(if_match, "If-Match"):
        raise stale()


def require_match(if_match: str | None) -> None:
    """428 without `If-Match` (RFC 6585): a change must say which state it changes, or it may overwrite another's."""
    if if_match is None:
        raise Problem(
            428,
            Code.FAILED_PRECONDITION,
            "a change needs the header If-Match with the ETag of the representation that it changes; GET it first",
        )


def stale() -> Problem:
    return Problem(
        412, Code.ABORTED, "If-Match does not name the current ETag: it was changed meanwhile; GET it again and retry"
    )


def is_current(if_none_match: str | None, current: str) -> bool:
    """Whether the caller's copy is still good, so that 304 is the answer to its GET or HEAD."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or current in _any(if_none_match, "If-None-Match")


def _strong(header: str, name: str) -> list[str]:
    return [tag for weak, tag in _tags(header, name) if not weak]


def _any(header: str, name: str) -> list[str]:
    return [tag for _, tag in _tags(header, name)]


def _tags(header: str, name: str) -> list[tuple[str, str]]:
    if not _LIST.fullmatch(header):
        raise bad_request(f'header {name} is {header[:60]!r}; it takes entity tags such as "abc", or *')
    return _TAG.findall(header)
