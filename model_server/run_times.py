"""How long a model's runs take: learnt from its runs, by the size of their inputs."""

from __future__ import annotations

from crossover.protocol.expected_time import ExpectedTime

UNKNOWN = ExpectedTime()
"""Of a model that has not run yet: nothing is expected, so that its first calls are taken."""


class RunTimes:
    """Durations of one model version in seconds. Sizes of one power of two are one class.

    A size that was never seen is expected to take what the nearest class takes: the next run of it tells.
    """

    __slots__ = ("_classes",)

    def __init__(self) -> None:
        self._classes: dict[int, ExpectedTime] = {}

    def learn(self, size: int, seconds: float) -> bool:
        """A run of `size` input bytes took `seconds`; whether what is expected of this size has changed by much."""
        estimate = self._classes.get(size.bit_length())
        if estimate is None:
            estimate = self._classes[size.bit_length()] = ExpectedTime()
        before = estimate.mean
        estimate.learn(seconds)
        return not 0.75 * before <= estimate.mean <= 1.5 * before

    def expected(self, size: int) -> ExpectedTime:
        """Of a run of `size` input bytes."""
        size_class = size.bit_length()
        estimate = self._classes.get(size_class)
        if estimate is not None:
            return estimate
        if not self._classes:
            return UNKNOWN
        # a tuple first: threads that run the model add classes
        return self._classes[min(tuple(self._classes), key=lambda known: abs(known - size_class))]
