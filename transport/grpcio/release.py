"""Which releases of grpcio are known well enough to be used below their public interface, where that saves much."""

from __future__ import annotations

import grpc

TESTED = grpc.__version__.startswith("1.85.")
"""With others the public interface is used, which costs more and answers the same."""
