"""When a request may be sent again by itself: one rule for every wire.

A request is sent again only when nobody can have looked at it, or when looking at it twice changes nothing:

- no connection came about, or the connection was closed before a byte of the request was written;
- the peer says that it has not processed it: an HTTP/2 stream that is reset with REFUSED_STREAM or lies beyond the last
  one that GOAWAY names (RFC 9113 8.7); gRPC's own libraries repeat such calls themselves, and nothing else;
- its method is GET or HEAD (RFC 9110 9.2.2).

Whatever else ends without an answer is UNAVAILABLE, and only the caller knows whether it may ask again: a POST whose
connection closes after the write, a message on a stream that ends, a request that kills its server.

Where a service has several replicas, a request that nobody can have looked at goes to another one (clients/balancing). What
that adds to the load is bounded by `RetryBudget`: replicas that cannot keep up are not helped by more requests.
"""

from __future__ import annotations

MOST_ATTEMPTS = 2
"""A request is sent this often at most, the first time included."""
_REPEATABLE = frozenset({"GET", "HEAD"})


def may_send_again(method: str, *, processed: bool) -> bool:
    """Whether a request that got no answer may be sent again; `processed`: the peer may have looked at it."""
    return not processed or method in _REPEATABLE


class RetryBudget:
    """How many requests may be sent again: `SHARE` of those that came, with a `RESERVE` for quiet times."""

    SHARE = 0.1
    RESERVE = 100.0

    def __init__(self) -> None:
        self._left = self.RESERVE
        self.spent = self.refused = 0

    def earn(self) -> None:
        """A request has come."""
        if self._left < self.RESERVE:
            self._left += self.SHARE

    def spend(self) -> bool:
        """Whether one may be sent again."""
        if self._left < 1:
            self.refused += 1
            return False
        self._left -= 1
        self.spent += 1
        return True
