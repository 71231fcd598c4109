"""Query parameters of lists and summaries, and cursors. Nothing here does I/O."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from crossover.rest_gateway.api.problems import bad_request
from crossover.rest_gateway.predictions.documents import PATH
from crossover.rest_gateway.predictions.record import Filter, State, from_text

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_LIMIT = 20
MOST_LISTED = 500
_LIMIT_DIGITS = 3
NUL = "\0"
"""No text of ours holds it, and PostgreSQL fails when it is asked for one that does."""
FILTERS = ("model", "label", "state", "upstream", "since", "until")
_CURSOR_MARK = "after:"


def check_names(query: Mapping[str, str], names: tuple[str, ...]) -> None:
    """400 for a parameter that is not known, since a misspelt filter would answer another question, and for NUL."""
    for name, text in query.items():
        if name not in names:
            raise bad_request(f"query parameter '{name[:40]}' is not known here; there are {', '.join(names)}")
        if NUL in text:
            raise bad_request(f"query parameter '{name}' holds the character NUL, which nothing here does")


def read_filter(query: Mapping[str, str]) -> Filter:
    return Filter(
        model=query.get("model"),
        label=query.get("label"),
        state=_state(query.get("state")),
        upstream=query.get("upstream"),
        since=_moment(query, "since"),
        until=_moment(query, "until"),
    )


def read_limit(query: Mapping[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    digits = text.lstrip("0")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _LIMIT_DIGITS or int(digits) > MOST_LISTED:
        raise bad_request(f"query parameter 'limit' is '{text[:40]}'; it takes an integer from 1 to {MOST_LISTED}")
    return int(digits)


def read_cursor(query: Mapping[str, str]) -> str | None:
    """The id after which the page begins; None for the first page."""
    text = query.get("cursor")
    if text is None:
        return None
    try:
        mark, _, prediction_id = base64.urlsafe_b64decode(text.encode()).decode("ascii").partition(":")
    except (binascii.Error, ValueError):
        mark = prediction_id = ""
    if mark + ":" != _CURSOR_MARK or not prediction_id or NUL in prediction_id:
        raise bad_request("query parameter 'cursor' is not one that a Link header of this list gave")
    return prediction_id


def next_page(query: Mapping[str, str], last_id: str) -> str:
    """The reference of the page after `last_id`, with the same filters."""
    cursor = base64.urlsafe_b64encode(f"{_CURSOR_MARK}{last_id}".encode()).decode()
    return f"{PATH}?{urlencode({**query, 'cursor': cursor})}"


def _state(text: str | None) -> State | None:
    if text is None:
        return None
    try:
        return State(text)
    except ValueError:
        raise bad_request(f"query parameter 'state' is '{text[:40]}'; it takes one of {', '.join(State)}") from None


def _moment(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return from_text(text.replace(" ", "+"))  # a plus sign that was not percent-encoded arrives as a space
    except (ValueError, OverflowError):
        raise bad_request(
            f"query parameter '{name}' is '{text[:40]}'; it takes a date or time such as 2026-01-31T12:00:00Z"
        ) from None
