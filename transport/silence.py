"""What to do about a connection that says nothing while calls wait on it: one policy for every wire.

A peer that is stopped, a lost host, a dropped NAT entry or a proxy that forwards no more all look like a slow model: no
byte comes. Killing the call would hurt slow models, waiting for its deadline is an outage as long as that deadline. So:

- A call that has waited `SILENT_SECONDS` without a byte makes its connection suspect. Where the protocol has a way to ask
  on the same connection (an HTTP/2 PING, a call beside the others), it is asked once, and has `PROBE_SECONDS` to answer.
- New calls begin on a fresh connection as soon as the question was not answered, or could not be asked (HTTP/1.1).
- Calls on the suspect connection go on until it answers, ends, or a fresh connection proves that the service answers
  there: then they are UNAVAILABLE. They are not sent again (transport/resending.py).
- Nothing is asked periodically. A gRPC server closes connections that ping without data more than once in five minutes
  (`too_many_pings`), so the next question waits twice as long until something is heard.
- What the peer's kernel does not acknowledge within `UNACKNOWLEDGED_SECONDS` ends the connection (TCP_USER_TIMEOUT): the
  network is gone, not the service slow.
"""

from __future__ import annotations

import socket
from contextlib import suppress

SILENT_SECONDS = 2.0
PROBE_SECONDS = 1.0
GIVEN_UP_SECONDS = 0.5
"""A call that its caller has given up after this time without a byte makes its connection suspect too."""
UNACKNOWLEDGED_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
"""Between two questions on a connection that says nothing, however long that lasts."""


def limit_unacknowledged(connected: socket.socket) -> None:
    """Let the kernel end a TCP connection whose bytes are not acknowledged (Linux; elsewhere nothing changes)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            connected.setsockopt(socket.IPPROTO_TCP, option, round(UNACKNOWLEDGED_SECONDS * 1000))
