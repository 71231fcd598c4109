"""The releases of uvicorn whose undocumented parts are used. Others get the public interface."""

from __future__ import annotations

from crossover.transport.release_guard import FastPath

RUNNER = FastPath("uvicorn-runner", "uvicorn", "0.54.")
"""`main_loop` and `shutdown` are replaced: no wake-ups while nothing happens, and connections that end by our own rules."""
