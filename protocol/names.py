"""Which names a model may have: one that is printed, logged or quoted must read as what it is."""

from __future__ import annotations

import re

from crossover.protocol.errors import invalid

# C0 and C1 controls and DEL; line and paragraph separators; controls of writing direction, which show a text in another
# order than it has (CVE-2021-42574); half of a surrogate pair, which is no character.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


MOST_NAME_CHARS = 1024
"""Characters of a model's name; file systems take 255 bytes."""


def is_clean(name: str) -> bool:
    """Whether a name has no control characters."""
    return name.isprintable() or _UNPRINTABLE.search(name) is None


def check_model_name(name: str) -> str:
    """The name; INVALID_ARGUMENT when it has control characters, or is longer than any name."""
    if len(name) > MOST_NAME_CHARS:
        raise invalid(f"the model's name has {len(name)} characters; names have {MOST_NAME_CHARS} at most")
    if not (name.isprintable() or is_clean(name)):
        raise invalid(f"the model's name {quoted(name)} has control characters, which names must not have")
    return name


def quoted(text: str, most: int = 80) -> str:
    """A text from outside for a sentence: in quotes, with its control characters as escapes."""
    return f"'{escaped(text[:most])}'"


def shown(value: object, most: int = 40) -> str:
    """A value that a message brought, for a sentence: text in quotes, true, false and null as JSON has them."""
    if isinstance(value, str):
        return quoted(value, most)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)[:most]


def escaped(text: str) -> str:
    """The text on one line: its control characters as escapes."""
    return text if is_clean(text) else _UNPRINTABLE.sub(lambda match: _escape(ord(match[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
