"""What a pair's user can get wrong."""

from __future__ import annotations

from crossover.comparison.options import UsageError

_MOST_SHOWN = 200


def readable(said: bytes | str) -> str:
    """The beginning of what a service sent, on one line that a terminal can show."""
    text = said[: 4 * _MOST_SHOWN].decode("utf-8", "replace") if isinstance(said, bytes) else said
    line = " ".join(text.split())[:_MOST_SHOWN]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


class PairError(UsageError):
    """A pair that cannot be compared as it was asked for, in one sentence: what libraries say in lines is joined."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))
