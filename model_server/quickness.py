"""How large a model's requests may be to run at once on the event loop: learnt from runs, taken back when one was slow."""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_PROBATION = 1024
SUSPECT_RUNS = 256


@dataclass(slots=True)
class Quickness:
    """What is known of one loaded version.

    A slow run may be the machine's doing or the model's. Each one doubles the number of quick runs on a thread that it
    takes to be trusted again, so that an unlucky model recovers and one whose time hangs on its values rarely gets in.
    """

    possible: bool = False
    """No control flow and only floating-point inputs: the time of a run follows from the size of its inputs."""
    limit: int = -1
    """Requests with at most this many input bytes run on the loop; -1 for none."""
    probation: int = 0
    """Quick runs that must pass before anything more is learnt."""
    slow: int = 0
    """Slow runs on the loop so far."""
    suspect: int = 0
    """Runs on the loop that are still timed by the thread's own clock, since one was slow by the clock on the wall: that was
    the model's doing, or the machine's."""

    def learn(self, size: int) -> None:
        """A run of `size` input bytes was quick on a thread."""
        if self.probation:
            self.probation -= 1
        else:
            self.limit = max(self.limit, size)

    def disappoint(self, size: int) -> None:
        """A run of `size` input bytes was slow on the loop."""
        self.slow += 1
        self.probation = min(_LONGEST_PROBATION, 1 << self.slow)
        self.limit = min(self.limit, size - 1)
