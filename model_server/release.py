"""The releases of ONNX Runtime that uses of its private interface were tested with."""

from __future__ import annotations

from crossover.transport.release_guard import FastPath

SESSION_RUN = FastPath("onnxruntime-session-run", "onnxruntime", "1.32.")
"""Runs go to the C++ session under InferenceSession, whose own `run` checks names a second time."""
