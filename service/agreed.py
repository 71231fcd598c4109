"""What a service and whoever starts it agree on. It imports next to nothing, so that a supervisor is small and quick."""

from __future__ import annotations

import signal

SAME_SIGNAL_SECONDS = 1.0
"""The same signal again within this time is one signal: a terminal and `make` both deliver a Ctrl-C."""
CANNOT_START = 2
"""Exit code of a service whose settings or ports cannot be used; starting it again would not help."""
PARENT = "CROSSOVER_PARENT"
"""Environment variable with the id of a parent process that the service is not to outlive."""


def url_host(host: str) -> str:
    """A host as a URL has it: IPv6 in brackets, and a wildcard as the loopback address that reaches it."""
    loopback = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared
    return f"[{loopback}]" if ":" in loopback else loopback


def stop_signals() -> tuple[signal.Signals, ...]:
    """What stops a service: SIGINT, SIGTERM, and the end of its terminal, unless `nohup` said that it is to survive that."""
    hang_up = (signal.SIGHUP,) if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else ()
    return (signal.SIGINT, signal.SIGTERM, *hang_up)
