"""What a caller may know of any failure, and the failures of the store of predictions."""

from __future__ import annotations

import logging
import math
import time

from crossover.protocol.errors import Code, InferenceError
from crossover.rest_gateway.api.problems import Problem, internal, of_error

PREFIX = "/api"
LOG_SECONDS = 60.0
_told_at = -math.inf
log = logging.getLogger("crossover.api")


class StoreAwayError(Exception):
    """The database cannot be reached now."""


class StoreFullError(StoreAwayError):
    """There is no room for more in the database."""


class StoreDamagedError(StoreAwayError):
    """The database is there, and what it holds cannot be read."""


def as_problem(error: Exception) -> Problem:
    """What a caller may know of any failure."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, InferenceError):
        return of_error(error)
    if isinstance(error, StoreAwayError):
        log_once_a_minute(error)
    if isinstance(error, StoreFullError):
        return Problem(
            507,
            Code.UNAVAILABLE,
            "there is no room for more predictions; delete some, or make room in DATA_DIR, or raise PREDICTION_MAX_BYTES",
        )
    if isinstance(error, StoreDamagedError):
        return Problem(
            503, Code.UNAVAILABLE, "the database of predictions is damaged; its operator has to restore or remove it"
        )
    if isinstance(error, StoreAwayError):
        return Problem(503, Code.UNAVAILABLE, "the store of predictions cannot be reached now; try again")
    log.error("a request under %s failed inside the gateway", PREFIX, exc_info=error)
    return internal()


def log_once_a_minute(error: StoreAwayError) -> None:
    """Each request, and each round of a worker, that meets a store that is away would write a line."""
    global _told_at  # noqa: PLW0603 - one log, one moment
    now = time.monotonic()
    if now - _told_at >= LOG_SECONDS:
        _told_at = now
        log.warning("the store of predictions cannot be used: %s", error)
