"""Media types, `Accept` and `Prefer` (RFC 9110, 12.5.1; RFC 7240). Nothing here does I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.protocol.errors import Code
from crossover.rest_gateway.api.problems import MEDIA_TYPE as PROBLEM
from crossover.rest_gateway.api.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
_LONGEST_WAIT = 60.0
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?", re.IGNORECASE)
_ASYNC = re.compile(r"respond-async", re.IGNORECASE)


def check_acceptable(accept: str | None, offered: str = JSON) -> None:
    """406 unless `Accept` allows `offered`."""
    if accept is not None and accept.strip() and _quality(accept, offered) <= 0:
        raise Problem(
            406,
            Code.UNIMPLEMENTED,
            f"Accept is '{accept[:80]}', but this resource is {offered} (and its errors {PROBLEM})",
            members={"available": [offered]},
        )


def prefers(media_type: str, accept: str, other: str) -> bool:
    """Whether `Accept` names `media_type` itself, with a quality value at least that of `other`."""
    named = any(_media_type(item)[0] == media_type for item in accept[:2000].split(","))
    return named and _quality(accept, media_type) > 0 and _quality(accept, media_type) >= _quality(accept, other)


def check_content_type(header: str | None, media_types: Iterable[str] = (JSON,), hint: str = "Accept-Post") -> None:
    """415 unless the body has one of `media_types` in UTF-8; `hint` is the header of the reply that lists them."""
    kind, parameters = _media_type(header or "")
    if kind not in media_types or parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        sent = f"'{header[:80]}'" if header else "missing"
        raise Problem(
            415,
            Code.UNSUPPORTED_MEDIA_TYPE,
            f"the body's Content-Type is {sent}; send {' or '.join(media_types)} in UTF-8",
            {hint: ", ".join(media_types)},
        )


@dataclass(frozen=True, slots=True)
class Preferences:
    """What `Prefer` asks for and we know; anything else is ignored, as RFC 7240 says."""

    respond_async: bool = False
    wait_seconds: float | None = None
    """With `respond_async`: how long the caller would wait for the outcome first."""


def preferences(headers: Iterable[str]) -> Preferences:
    """The preferences in all `Prefer` headers; the first of a kind counts."""
    items = [item.strip() for header in headers for item in header.split(",")]
    waits = [float(match[1]) for item in items if (match := _WAIT.fullmatch(item.partition(";")[0].strip()))]
    return Preferences(
        any(_ASYNC.fullmatch(item.partition(";")[0].strip()) for item in items),
        min(waits[0], _LONGEST_WAIT) if waits else None,
    )


def _media_type(header: str) -> tuple[str, dict[str, str]]:
    kind, *rest = header.split(";")
    pairs = (item.partition("=") for item in rest)
    return kind.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def _quality(accept: str, offered: str) -> float:
    """The quality value of the most specific range of `Accept` that covers `offered`; 0 when none does."""
    best, quality = -1, 0.0
    for item in accept[:2000].split(","):
        kind, parameters = _media_type(item)
        rank = _specificity(kind, offered)
        if rank > best:
            best, quality = rank, _number(parameters.get("q", "1"))
    return quality


def _specificity(kind: str, offered: str) -> int:
    ranges = {"*/*": 0, f"{offered.partition('/')[0]}/*": 1, offered: 2}
    return ranges.get(kind, -1)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
