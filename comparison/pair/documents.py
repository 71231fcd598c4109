"""JSON as it comes from users and services."""

from __future__ import annotations

import json
from typing import Any


def read(text: str | bytes) -> Any:
    """The value of a JSON text; ValueError for what is none, also for what is nested more deeply than Python reads."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
