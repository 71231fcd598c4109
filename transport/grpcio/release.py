"""The releases of grpcio that each use of its private interface was tested with. Others get the public interface."""

from __future__ import annotations

from crossover.transport.release_guard import FastPath

REQUEST_POOL = FastPath("grpcio-request-pool", "grpcio", "1.85.")
"""Calls are asked for from the core's server object, and answered by grpc.aio's own coroutine (request_pool.py)."""
UNARY_CALL = FastPath("grpcio-unary-call", "grpcio", "1.85.")
"""A client's call uses the core's call object without grpc.aio's wrapper (unary_call.py)."""
POLLER = FastPath("grpcio-poller", "grpcio", "1.85.")
"""The thread that grpc.aio starts with its first channel or server is its poller (poller.py)."""
