"""What a pair's user can get wrong."""

from __future__ import annotations

from crossover.comparison.options import UsageError


class PairError(UsageError):
    """A pair that cannot be compared as it was asked for, in one sentence: what libraries say in lines is joined."""

    def __init__(self, text: str) -> None:
        super().__init__(" ".join(text.split()))
